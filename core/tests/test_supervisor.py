from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multios.cgroups.hierarchy import Hierarchy
from multios.drivers.isolation import Stdio
from multios.errors import CommandNotExecutable, CommandNotFound, Conflict, InvalidInput, NotFound, StepFailed
from multios.model.mount import IdMap
from multios.supervisor import spawn, wire
from multios.supervisor.client import Reservation, Supervisor
from multios.supervisor.slots import USUAL

pytestmark = pytest.mark.needs_root

HERE = Path(__file__).parent
LAUNCHER = "supervisor_launcher"
NAMESPACES = tuple(sorted(USUAL))


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait until ``true()``, and return its value."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return value


def read_all(descriptor: int, seconds: float = 30.0) -> bytes:
    """Everything up to the end; closes the descriptor."""
    parts = []
    end = time.monotonic() + seconds
    while True:
        assert select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0], "no end of stream"
        part = os.read(descriptor, 1 << 16)
        if not part:
            os.close(descriptor)
            return b"".join(parts)
        parts.append(part)


def text_of(path: Path, stream: str = "stdout") -> str:
    """The text of a stream, from its log."""
    text = ""
    for line in path.read_text().splitlines():
        _, name, tag, rest = line.split(" ", 3)
        if name == stream:
            text += rest + ("\n" if tag == "F" else "")
    return text


class House:
    """A supervisor of the test's own, and short ways to use it."""

    def __init__(self, home: Path, parent: str, slots: int) -> None:
        self.home, self.parent, self.slots = home, parent, slots
        self.hierarchy = Hierarchy.find(parent)
        self.client = self.connect()

    def connect(self) -> Supervisor:
        self.client = Supervisor(
            self.home / "supervisor.sock",
            self.home / "exits",
            self.parent,
            [LAUNCHER, "no.such.launcher"],
            slots=self.slots,
            import_paths=[HERE],
            log=str(self.home / "complaints"),
        )
        return self.client

    def log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def create(
        self, name: str, script: str = "exit 0", **stdio: Any
    ) -> tuple[Reservation, tuple[int, int, int]]:
        reservation = self.client.reserve(name, LAUNCHER, NAMESPACES, IdMap(100000))
        os.close(reservation.user_namespace)
        os.close(reservation.network_namespace)
        os.close(reservation.pidfd)
        stdio.setdefault("log_path", str(self.log(name)))
        ends = self.client.launch(name, {"argv": ["/bin/sh", "-c", script]}, (), Stdio(**stdio))
        return reservation, ends

    def run(self, name: str, script: str, **stdio: Any) -> tuple[int, int, int]:
        ends = self.create(name, script, **stdio)[1]
        self.client.start(name)
        return ends

    def exit_code(self, name: str) -> int | None:
        record = until(lambda: self.client.exit_of(name))
        code: int | None = record["exit_code"]
        return code

    def row(self, name: str) -> dict[str, Any]:
        return next(row for row in self.client.processes() if row["id"] == name)

    def slots_ready(self) -> list[int]:
        time.sleep(0.05)  # a supervisor that is asked all the time has no quiet moment to make slots in
        pids: list[int] = self.client.status()["slots"]
        return pids if len(pids) == self.slots and all(pids) else []


def close_house(house: House) -> None:
    """End everything, and prove that nothing is left."""
    client = house.client
    for row in client.processes():
        if row["pid"] and row["status"] in ("running", "created"):
            client.signal(row["id"], signal.SIGKILL)
            until(lambda row=row: row["id"] not in [r["id"] for r in client.processes() if r["pid"]])
        client.forget(row["id"])
    pid = client.pid
    assert client.processes() == []
    client.shutdown()
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert house.hierarchy.names() == []
    house.hierarchy.dissolve()
    assert list((house.home / "exits").iterdir()) == []


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, f"multios-test-{os.urandom(4).hex()}", slots=0)
    yield made
    close_house(made)


@pytest.fixture
def warm_house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, f"multios-test-{os.urandom(4).hex()}", slots=2)
    yield made
    close_house(made)


# --- run ---


def test_a_container_runs_to_its_end_with_its_status_and_its_log(house: House) -> None:
    exits: list[tuple[Any, ...]] = []
    house.client.on_exit(lambda *news: exits.append(news))
    house.run("one", "echo hello; echo trouble >&2; printf half; exit 3")
    assert house.exit_code("one") == 3
    assert text_of(house.log("one")) == "hello\nhalf"
    assert text_of(house.log("one"), "stderr") == "trouble\n"
    until(lambda: exits)
    assert exits[0][:3] == ("one", 3, 0)
    assert house.row("one")["status"] == "stopped"
    assert house.hierarchy.names(), "the daemon may still ask the cgroup about the end"
    house.client.forget("one")
    until(lambda: not house.hierarchy.names())


def test_the_child_has_its_own_namespaces_cgroup_and_ids(house: House) -> None:
    reservation, _ = house.create(
        "one", "cat /proc/self/uid_map; cat /proc/self/cgroup; echo $$; umask; exec sleep 60"
    )
    assert reservation.cgroup.startswith(house.parent + "/")
    house.client.start("one")
    text = until(lambda: text_of(house.log("one")) if "0022" in text_of(house.log("one")) else "")
    assert text.split()[:3] == ["0", "100000", "65536"]
    assert house.parent not in text  # the cgroup namespace is rooted in the container's own group
    assert "\n1\n" in text
    assert house.hierarchy.processes(reservation.cgroup.rpartition("/")[2]) == [reservation.pid]
    status = Path(f"/proc/{reservation.pid}/status").read_text()
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    assert int(ignored.split()[1], 16) & 0x7FFFFFFF == 0  # glibc lets nobody touch 32 and 33
    until(lambda: Path(f"/proc/{reservation.pid}/comm").read_text() == "sleep\n")
    until(lambda: len(os.listdir(f"/proc/{reservation.pid}/fd")) == 3)  # its loader opens libraries meanwhile
    assert Path(f"/proc/{reservation.pid}/fd/1").stat().st_uid == 100000


def test_a_killed_container_says_so(house: House) -> None:
    house.run("one", "exec sleep 60")
    house.client.signal("one", signal.SIGKILL)
    assert house.exit_code("one") == 137
    assert house.client.exit_of("one")["signal"] == 9  # type: ignore[index]
    house.client.signal("one", signal.SIGKILL)  # dead: no error
    with pytest.raises(NotFound):
        house.client.signal("nobody", signal.SIGKILL)


def test_a_missing_command_is_127_and_one_without_the_right_126(house: House) -> None:
    for name, command, error in (
        ("a", "/no/such", CommandNotFound),
        ("b", "/etc/passwd", CommandNotExecutable),
    ):
        house.client.reserve(name, LAUNCHER, NAMESPACES, IdMap(100000))
        house.client.launch(name, {"argv": [command]}, (), Stdio())
        with pytest.raises(error, match=command):
            house.client.start(name)
        house.client.forget(name)
        assert house.client.exit_of(name) is None


def test_a_failing_step_is_named(house: House) -> None:
    house.client.reserve("one", LAUNCHER, NAMESPACES, IdMap(100000))
    with pytest.raises(StepFailed, match="mount: /data: Permission denied"):
        house.client.launch("one", {"fail": True}, (), Stdio())
    house.client.forget("one")
    house.client.reserve("one", LAUNCHER, NAMESPACES, IdMap(100000))
    with pytest.raises(StepFailed, match="died"):
        house.client.launch("one", {"die": True}, (), Stdio())
    house.client.forget("one")
    with pytest.raises(StepFailed, match="not loaded"):
        house.client.reserve("one", "no.such.launcher", NAMESPACES, IdMap(100000))


def test_descriptors_reach_the_launcher(house: House) -> None:
    read, write = os.pipe()
    house.client.reserve("one", LAUNCHER, NAMESPACES, IdMap(100000))
    house.client.launch("one", {"argv": ["/bin/true"]}, (write,), Stdio())
    os.close(write)
    house.client.start("one")
    assert read_all(read) == b"created"


def test_a_container_that_never_started_is_forgotten_with_all_that_it_has(house: House) -> None:
    exits: list[Any] = []
    house.client.on_exit(lambda *news: exits.append(news))
    reserved = house.client.reserve("reserved", LAUNCHER, NAMESPACES, IdMap(100000))
    created, _ = house.create("created")
    with pytest.raises(Conflict):
        house.client.reserve("created", LAUNCHER, NAMESPACES, IdMap(100000))
    for name, pid in (("reserved", reserved.pid), ("created", created.pid)):
        house.client.forget(name)
        assert not Path(f"/proc/{pid}").exists()
    assert house.hierarchy.names() == []
    assert house.client.processes() == []
    assert exits == []


def test_an_exit_that_nobody_heard_is_told_to_who_asks_later(house: House) -> None:
    house.run("one", "exit 5")
    house.exit_code("one")
    house.client.close()
    told: list[Any] = []
    house.connect().on_exit(lambda *news: told.append(news))
    until(lambda: told)
    assert told[0][:2] == ("one", 5)


# --- streams ---


def test_an_attached_client_gets_every_byte_from_the_first(house: House) -> None:
    _, out, err = house.run("one", "head -c 5000000 /dev/zero; echo -n done >&2", attach=True)
    assert read_all(out) == bytes(5_000_000)
    assert read_all(err) == b"done"
    assert house.exit_code("one") == 0


def test_a_slow_reader_stalls_nobody_else(house: House) -> None:
    _, out, err = house.run("slow", "head -c 2000000 /dev/zero", attach=True)
    _, other, other_err = house.run("quick", "head -c 2000000 /dev/zero", attach=True)
    assert len(read_all(other)) == 2_000_000
    assert house.client.exit_of("slow") is None
    assert len(read_all(out)) == 2_000_000
    for descriptor in (err, other_err):
        os.close(descriptor)
    assert house.exit_code("slow") == 0


def test_a_reader_that_vanishes_holds_nothing_up(house: House) -> None:
    _, out, err = house.run("one", "head -c 2000000 /dev/zero", attach=True)
    os.close(out)
    os.close(err)
    assert house.exit_code("one") == 0


def test_output_of_a_grandchild_that_outlives_the_process_is_not_waited_for(house: House) -> None:
    house.run("one", "exec sleep 60")
    command = ["/bin/sh", "-c", "sleep 60 & echo first"]
    log = house.log("exec")
    house.client.exec("one", "exec", LAUNCHER, {"argv": command}, (), Stdio(log_path=str(log)))
    assert house.exit_code("exec") == 0
    assert text_of(log) == "first\n"


def test_standard_input_goes_to_the_first_who_attaches(house: House) -> None:
    house.run("one", "exec cat", stdin="pipe")
    terminal, (stdin, out, err) = house.client.attach("one", True)
    assert not terminal
    _, (second, out2, err2) = house.client.attach("one", True)
    assert second == -1
    os.write(stdin, b"hello")
    os.close(stdin)
    assert read_all(out) == read_all(out2) == b"hello"
    assert house.exit_code("one") == 0
    os.close(err)
    os.close(err2)


def test_standard_input_may_be_the_callers_own(house: House) -> None:
    read, write = os.pipe()
    house.run("one", "exec cat", stdin="fd", descriptors=(read,))
    os.close(read)
    os.write(write, b"mine\n")
    os.close(write)
    assert house.exit_code("one") == 0
    assert text_of(house.log("one")) == "mine\n"


def test_a_terminal_is_the_controlling_one_and_can_be_resized(house: House) -> None:
    script = "test -t 0 && : >/dev/tty && echo ready; read line; stty size; echo got $line"
    master, output, nothing = house.run("one", script, terminal=True, attach=True)
    assert nothing == -1
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 11, 22, 0, 0))
    os.write(master, b"word\n")
    text = read_all(output).replace(b"\r", b"")
    os.close(master)
    assert b"ready\n" in text
    assert b"11 22\ngot word\n" in text
    assert house.exit_code("one") == 0
    assert "got word" in text_of(house.log("one"))


def test_a_client_that_makes_the_master_block_does_not_stop_the_supervisor(house: House) -> None:
    script = "while :; do echo spam; done"
    master, output, _ = house.run("evil", script, terminal=True, attach=True)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        os.set_blocking(master, True)
        for end_of in (master, output):
            if select.select([end_of], [], [], 0)[0]:
                os.read(end_of, 65536)
    house.run("good", "echo fine")
    assert house.exit_code("good") == 0
    house.client.signal("evil", signal.SIGKILL)
    assert house.exit_code("evil") == 137
    os.close(master)
    os.close(output)


def test_a_log_is_rotated(house: House) -> None:
    house.run("one", "seq 1 5000", log_max_size=20_000, log_max_files=2)
    house.exit_code("one")
    assert house.log("one").stat().st_size <= 20_000
    assert Path(f"{house.log('one')}.1").stat().st_size <= 20_000
    assert text_of(house.log("one")).endswith("\n5000\n")


# --- exec ---


def test_exec_joins_every_namespace_and_the_cgroup(house: House) -> None:
    reservation, _ = house.create("one", "exec sleep 60")
    house.client.start("one")
    read, write = os.pipe()
    script = "readlink /proc/self/ns/user; exec 1>&-; exec sleep 60"
    pid, ends = house.client.exec(
        "one", "exec", LAUNCHER, {"argv": ["/bin/sh", "-c", script]}, (), Stdio(descriptors=(0, write, 2))
    )
    os.close(write)
    assert ends == (-1, -1, -1)
    assert read_all(read).decode().strip() == os.readlink(f"/proc/{reservation.pid}/ns/user")
    for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{reservation.pid}/ns/{name}")
    assert pid in house.hierarchy.processes(reservation.cgroup.rpartition("/")[2])
    house.client.signal("one", signal.SIGKILL)
    assert house.exit_code("exec") == 137
    assert house.exit_code("one") == 137


def test_exec_reports_status_and_failure(house: House) -> None:
    house.run("one", "exec sleep 60")
    house.client.exec("one", "e1", LAUNCHER, {"argv": ["/bin/sh", "-c", "exit 9"]}, (), Stdio())
    assert house.exit_code("e1") == 9
    with pytest.raises(CommandNotFound):
        house.client.exec("one", "e2", LAUNCHER, {"argv": ["/no/such"]}, (), Stdio())
    with pytest.raises(NotFound):
        house.client.exec("two", "e3", LAUNCHER, {"argv": ["/bin/true"]}, (), Stdio())
    until(lambda: [row["id"] for row in house.client.processes()] == ["e1", "one"])


def test_one_process_can_be_asked_for_among_many(house: House) -> None:
    house.run("one", "exec sleep 60")
    house.client.exec("one", "e1", LAUNCHER, {"argv": ["/bin/sh", "-c", "exit 9"]}, (), Stdio())
    house.exit_code("e1")
    for name in ("one", "e1"):
        assert house.client.process(name) == house.row(name)
    assert house.client.process("on") is None


def test_exec_with_a_terminal_hands_its_master_over(house: House) -> None:
    house.run("one", "exec sleep 60")
    script = "read line; echo got $line"
    _, (master, output, nothing) = house.client.exec(
        "one", "exec", LAUNCHER, {"argv": ["/bin/sh", "-c", script]}, (), Stdio(terminal=True)
    )
    assert (output, nothing) == (-1, -1)
    os.write(master, b"this\n")
    assert house.exit_code("exec") == 0
    text = b""
    while b"got this" not in text:  # the kernel hands a terminal's output over by a worker, part by part
        text += os.read(master, 1000)
    os.close(master)


# --- warm slots ---


def test_a_slot_is_taken_and_replaced(warm_house: House) -> None:
    ready = until(warm_house.slots_ready)
    reservation, _ = warm_house.create("one", "exec sleep 60")
    assert reservation.pid in ready
    again = until(warm_house.slots_ready)
    assert reservation.pid not in again


def test_slots_die_with_the_supervisor_and_are_made_anew(warm_house: House) -> None:
    ready = until(warm_house.slots_ready)
    former = warm_house.client.pid
    os.kill(former, signal.SIGKILL)
    again = until(lambda: warm_house.client.pid != former and warm_house.slots_ready())
    assert not set(ready) & set(again)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ready))  # who inherited them reaps them
    groups = lambda: [name for name in warm_house.hierarchy.names() if name.startswith(f"{former}-")]  # noqa: E731
    until(lambda: not groups())


def test_a_slot_that_is_killed_leaves_nothing(warm_house: House) -> None:
    ready = until(warm_house.slots_ready)
    os.kill(ready[0], signal.SIGKILL)
    until(lambda: ready[0] not in warm_house.client.status()["slots"])
    until(lambda: len(warm_house.hierarchy.names()) == 1)


# --- deaths ---

COUNT = "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 42"


def test_output_and_status_survive_the_supervisors_death(house: House) -> None:
    house.run("counts", COUNT)
    house.run("typed", "read a; echo $a", terminal=True)
    house.run("waits", "exec cat", stdin="pipe")
    house.create("created")
    house.client.exec("waits", "exec", LAUNCHER, {"argv": ["/bin/sh", "-c", "sleep 1; exit 6"]}, (), Stdio())
    until(lambda: text_of(house.log("counts")).count("\n") > 20)
    former = house.client.pid
    os.kill(former, signal.SIGKILL)
    until(lambda: house.client.pid != former)
    assert house.exit_code("created") == 125
    assert house.exit_code("counts") == 42
    assert text_of(house.log("counts")) == "".join(f"{number}\n" for number in range(100))
    _, (master, output, _) = house.client.attach("typed", True)
    os.write(master, b"still here\n")
    os.close(master)
    assert b"still here" in read_all(output)
    assert house.exit_code("typed") == 0
    _, (stdin, out, err) = house.client.attach("waits", True)
    os.write(stdin, b"and here")
    os.close(err)
    os.close(stdin)
    assert house.exit_code("exec") == 6
    assert read_all(out) == b"and here"
    assert house.exit_code("waits") == 0


def test_an_exec_that_ended_while_there_was_no_supervisor_keeps_no_container_from_dying(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has become the daemon's child: one that nobody reaps keeps its PID namespace alive (pid_namespaces(7))."""
    house.run("one", "exec sleep 60")
    pid, _ = house.client.exec("one", "exec", LAUNCHER, {"argv": ["/bin/sleep", "60"]}, (), Stdio())
    start = spawn.start

    def start_when_it_has_ended(command: spawn.Command) -> int:
        os.kill(pid, signal.SIGTERM)
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        return start(command)

    monkeypatch.setattr(spawn, "start", start_when_it_has_ended)
    os.kill(house.client.pid, signal.SIGKILL)
    assert house.exit_code("exec") == 143
    house.client.signal("one", signal.SIGKILL)
    assert house.exit_code("one") == 137
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_exec_works_in_a_container_that_was_handed_over(house: House) -> None:
    house.run("one", "exec sleep 60")
    former = house.client.pid
    os.kill(former, signal.SIGKILL)
    until(lambda: house.client.pid != former)
    house.client.exec("one", "e", LAUNCHER, {"argv": ["/bin/sh", "-c", "exit 8"]}, (), Stdio())
    assert house.exit_code("e") == 8
    os.kill(house.client.pid, signal.SIGKILL)  # and once more
    until(lambda: house.row("one")["status"] == "running")
    house.client.signal("one", signal.SIGTERM)
    house.client.signal("one", signal.SIGKILL)
    assert house.exit_code("one") == 137


def test_everything_goes_on_when_the_daemon_dies(tmp_path: Path) -> None:
    parent = f"multios-test-{os.urandom(4).hex()}"
    words = [sys.executable, str(HERE / "supervisor_daemon.py"), str(tmp_path), parent, COUNT]
    daemon = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    pid = json.loads(daemon.stdout.readline())["supervisor"]
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    until((tmp_path / "exits" / "one").exists)
    house = House(tmp_path, parent, slots=0)
    try:
        assert house.client.pid == pid
        assert house.exit_code("one") == 42
        assert text_of(house.log("one")) == "".join(f"{number}\n" for number in range(100))
        told: list[Any] = []
        house.client.on_exit(lambda *news: told.append(news))
        until(lambda: told)
    finally:
        close_house(house)


def test_one_that_runs_unknown_to_its_dead_supervisor_ends_when_forgotten(house: House) -> None:
    started = subprocess.Popen(["sleep", "60"])
    described = {
        "id": "one", "container_id": "one", "launcher": LAUNCHER, "status": "created", "pid": started.pid,
        "owner": 0, "cgroup": "", "terminal": False, "log": None,
    }  # fmt: skip
    pidfd = os.pidfd_open(started.pid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(house.home / "supervisor.sock"))
        wire.send(client, {"do": "adopt", "process": described, "copies": ["pidfd"]}, [pidfd])
        assert wire.receive(client)[0] == {"result": {}, "places": []}
    os.close(pidfd)
    house.client.forget("one")
    assert started.wait(30) in (-signal.SIGKILL, 0)  # 0: the client, in this process, reaped it
    assert house.client.processes() == []


def test_an_exec_that_nobody_was_told_of_keeps_no_container_from_dying(house: House) -> None:
    house.run("one", "exec sleep 60")
    words = ["nsenter", f"--target={house.row('one')['pid']}", "--pid", "sleep", "60"]
    with subprocess.Popen(words) as helper:
        children = Path(f"/proc/{helper.pid}/task/{helper.pid}/children")
        stray = int(until(children.read_text))
        helper.kill()  # what it made is now the child of the nearest subreaper: this process
    former = house.client.pid
    os.kill(former, signal.SIGKILL)
    until(lambda: house.client.pid not in (0, former))
    until(lambda: not Path(f"/proc/{stray}").exists())
    house.client.signal("one", signal.SIGKILL)
    assert house.exit_code("one") == 137


def test_a_death_after_the_daemons_death_loses_no_status_that_the_kernel_knows(tmp_path: Path) -> None:
    parent = f"multios-test-{os.urandom(4).hex()}"
    words = [sys.executable, str(HERE / "supervisor_daemon.py"), str(tmp_path), parent, "sleep 1; exit 42"]
    daemon = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    pid = json.loads(daemon.stdout.readline())["supervisor"]
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    house = House(tmp_path, parent, slots=0)
    try:
        os.kill(pid, signal.SIGKILL)
        until(lambda: house.client.pid != pid)
        assert house.exit_code("one") in (42, None)  # None where neither we nor the kernel can tell
    finally:
        close_house(house)


# --- nonsense ---


def test_nonsense_is_answered_and_never_fatal(house: House) -> None:
    pid = house.client.pid
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(house.home / "supervisor.sock"))
        for packet in (
            b"x",
            b"[]",
            b"{}",
            b"[" * 60000,
            b"x" * 100_000,
            b"\xff\xfe",
            b'{"do": "reserve"}',
            b'{"do": "reserve", "id": "../x", "launcher": "supervisor_launcher", "namespaces": [], "id_map": null}',
            b'{"do": "reserve", "id": "x", "launcher": "l", "namespaces": ["moon"], "id_map": null}',
            b'{"do": "reserve", "id": "x", "launcher": "l", "namespaces": ["user"], "id_map": [0, -1]}',
            b'{"do": "launch", "id": "x", "stdio": {"descriptors": 9}}',
            b'{"do": "launch", "id": 5}',
            b'{"do": "adopt", "process": {}, "copies": []}',
            b'{"do": "ended", "id": "x", "exit_code": "y", "signal": 1, "finished": 0}',
            b'{"do": {"a": 1}}',
        ):
            client.send(packet)
            assert "error" in json.loads(client.recv(65536)), packet[:60]
        client.send(b'{"do": "status"}')  # and gone before the answer
    with pytest.raises(InvalidInput):
        house.client.exit_of("../../etc/passwd")
    house.run("one", "exit 0")
    assert house.exit_code("one") == 0
    assert house.client.pid == pid


def test_a_supervisor_with_containers_does_not_leave(house: House) -> None:
    house.run("one", "exec sleep 60")
    with pytest.raises(Conflict):
        house.client.shutdown()
    assert house.row("one")["status"] == "running"
    with pytest.raises(Conflict):
        house.client.forget("one")


def test_the_socket_is_for_its_owner_alone_and_taken_once(house: House) -> None:
    assert (house.home / "supervisor.sock").stat().st_mode & 0o777 == 0o600
    words = [
        sys.executable,
        "-I",
        "-m",
        "multios.supervisor.main",
        "--socket",
        str(house.home / "supervisor.sock"),
    ]
    words += ["--exits", str(house.home / "exits"), "--cgroup-parent", house.parent]
    assert subprocess.run(words, check=False).returncode == 3


def test_many_threads_may_use_one_client(house: House) -> None:
    import concurrent.futures

    def whole(number: int) -> int | None:
        house.run(f"c{number}", f"exit {number}")
        return house.exit_code(f"c{number}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(whole, range(24))) == list(range(24))
