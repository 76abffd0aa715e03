"""``why`` names what was refused, to whom, by what and what would allow it; and to be watched changes nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from private_engine import CLIENT, IMAGE, PrivateEngine, eventually

pytestmark = pytest.mark.skipif(
    "user_notif" not in Path("/proc/sys/kernel/seccomp/actions_avail").read_text(),
    reason="this kernel lacks seccomp's user notification",
)
FLOOD = "while :; do umount /proc 2>/dev/null; done"


def refusals(engine: PrivateEngine, name: str, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(engine.out("why", name, "--format", "json", *words))
    return rows


def one(engine: PrivateEngine, name: str, **expected: Any) -> dict[str, Any]:
    """The one row that has these values."""
    rows = refusals(engine, name)
    found = [row for row in rows if expected.items() <= row.items()]
    assert len(found) == 1, rows
    return found[0]


def inside(engine: PrivateEngine, name: str, script: str) -> subprocess.CompletedProcess[str]:
    return engine.run("exec", name, "sh", "-c", script, status=None)


def start(engine: PrivateEngine, name: str, *options: str) -> None:
    engine.run("run", "-d", "--name", name, *options, IMAGE, "sleep", "1000")


# --- what the filter refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "what", "program", "reason", "remedy"),
    [
        ("mount -t tmpfs x /mnt", 'mount("/mnt", tmpfs)', "mount", "no CAP_SYS_ADMIN", "--cap-add SYS_ADMIN"),
        ("unshare -m true", "unshare(mount) namespace", "unshare", "no CAP_SYS_ADMIN", "--cap-add SYS_ADMIN"),
        ("umount /proc", 'umount2("/proc")', "umount", "no CAP_SYS_ADMIN", "--cap-add SYS_ADMIN"),
        ("hostname other", 'sethostname("other")', "hostname", "no CAP_SYS_ADMIN", "--cap-add SYS_ADMIN"),
        ("dmesg", "syslog() (read the kernel's log)", "dmesg", "no CAP_SYSLOG", "--cap-add SYSLOG"),
    ],
)
def test_a_refused_call_is_named_with_program_capability_and_option(
    engine: PrivateEngine, running: str, script: str, what: str, program: str, reason: str, remedy: str
) -> None:
    assert inside(engine, running, script).returncode != 0
    row = one(engine, running, what=what)
    assert (row["program"], row["reason"], row["kind"]) == (program, reason, "capability")
    assert row["remedy"] == f"{remedy} (administrators)"
    assert row["pid"] > 1 and row["count"] >= 1


def test_the_first_process_is_watched_and_its_record_outlives_it(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--name", name, IMAGE, "sh", "-c", "umount /proc; true")
    assert one(engine, name, call="umount2")["count"] == 1
    shown = engine.run("why", name)
    assert "not being watched: it is exited" in shown.stderr
    engine.run("start", name)
    eventually(lambda: engine.status_of(name) == "exited", "it ended again")
    assert one(engine, name, call="umount2")["count"] == 2


def test_the_same_refusal_is_one_line_with_a_count(engine: PrivateEngine, running: str) -> None:
    inside(engine, running, "for i in 1 2 3 4 5; do umount /proc; done")
    assert one(engine, running, call="umount2")["count"] == 5
    line = next(line for line in engine.out("why", running).splitlines() if "umount2" in line)
    assert "5 times" in line and "no CAP_SYS_ADMIN" in line


def test_a_container_to_which_nothing_was_refused_says_so(engine: PrivateEngine, running: str) -> None:
    shown = engine.run("why", running)
    assert shown.stdout == f"nothing was refused to {running}\n"
    assert shown.stderr == "its system calls are being watched\n"
    assert refusals(engine, running) == []


def test_one_that_is_not_watched_says_why_not(engine: PrivateEngine, name: str) -> None:
    start(engine, name, "--security-opt", "explain=false")
    assert inside(engine, name, "umount /proc").returncode != 0
    assert refusals(engine, name) == []
    assert "explain=false" in engine.run("why", name).stderr


def test_since_and_last_narrow_it(engine: PrivateEngine, running: str) -> None:
    inside(engine, running, "umount /proc; hostname x; dmesg")
    assert [row["call"] for row in refusals(engine, running, "--last", "1")] == ["syslog"]
    assert len(refusals(engine, running, "--since", "10m")) == 3
    time.sleep(1.1)
    assert refusals(engine, running, "--since", "1s") == []
    assert engine.run("why", running, "--last", "0", status=125).stderr


def test_what_a_program_calls_itself_has_no_power_over_the_terminal(
    engine: PrivateEngine, running: str
) -> None:
    inside(engine, running, r"""hostname "$(printf '\033[31mred')" """)
    assert "\033" not in engine.run("why", running).stdout


# --- a watched container behaves as it did ---------------------------------------------------------------


def custom(tmp_path: Path, *names: str, error: int = 13) -> str:
    rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": error}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    return f"seccomp={path}"


def test_a_profile_of_ones_own_is_explained_and_its_errno_kept(
    engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    start(engine, name, "--security-opt", custom(tmp_path, "mkdir", "mkdirat", error=28))
    assert "No space left" in inside(engine, name, "mkdir /tmp/x").stderr
    row = one(engine, name, program="mkdir")
    assert (row["errno"], row["kind"]) == (28, "seccomp")
    assert "seccomp=FILE that allows mkdir" in row["remedy"]


def test_a_profile_that_refuses_what_the_launcher_needs_does_not_deadlock(
    engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    began = time.monotonic()
    start(engine, name, "--security-opt", custom(tmp_path, "sendmsg", "sendto", "write", "mkdir", "mkdirat"))
    assert inside(engine, name, "mkdir /tmp/x").returncode != 0
    assert time.monotonic() - began < 10
    assert one(engine, name, call="mkdir" if os.uname().machine == "x86_64" else "mkdirat")


def test_an_init_and_a_user_without_rights_are_watched_too(engine: PrivateEngine, name: str) -> None:
    start(engine, name, "--init", "--user", "1000")
    assert inside(engine, name, "umount /proc").returncode != 0
    assert one(engine, name, call="umount2")


def test_without_no_new_privileges_it_is_watched_too(engine: PrivateEngine, name: str) -> None:
    start(engine, name, "--security-opt", "no-new-privileges=false")
    assert inside(engine, name, "umount /proc").returncode != 0
    assert one(engine, name, call="umount2")


# --- what the kernel refuses, foreseen ---------------------------------------------------------------------


@pytest.fixture
def foreseen(engine: PrivateEngine, name: str) -> str:
    start(engine, name, "--read-only", "--cap-drop", "NET_BIND_SERVICE", "--security-opt", "explain=all")
    return name


@pytest.mark.parametrize(
    ("script", "kind", "reason", "remedy"),
    [
        ("echo x >/etc/passwd", "read-only", "read-only root", "leave out --read-only"),
        ("cd /etc && mkdir new", "read-only", "read-only root", "leave out --read-only"),
        (
            "echo x >/proc/sys/kernel/hostname",
            "read-only",
            "/proc/sys is read-only in containers",
            "--privileged",
        ),
        ("ping -c 1 127.0.0.1", "capability", "no CAP_NET_RAW", "--cap-add NET_RAW"),
        (
            "chown 70000 /dev/shm",
            "user-namespace",
            "the container has 65536 ids of its own",
            "use an id below",
        ),
        ("mknod /dev/mine c 1 3", "user-namespace", "root inside may not make devices", "use those in /dev"),
        ("ulimit -H -n 1000000000", "limit", "the hard limit nofile cannot be raised", "--ulimit nofile="),
        (
            "timeout 1 nc -l -p 80",
            "capability",
            "port 80 is below 1024, and no CAP_NET_BIND_SERVICE",
            "leave out --cap-drop NET_BIND_SERVICE",
        ),
    ],
)
def test_what_the_kernel_refuses_is_explained(
    engine: PrivateEngine, foreseen: str, script: str, kind: str, reason: str, remedy: str
) -> None:
    assert inside(engine, foreseen, script).returncode != 0
    row = one(engine, foreseen, kind=kind, reason=reason)
    assert row["remedy"].startswith(remedy)


def test_what_the_kernel_allows_goes_on_and_is_no_refusal(engine: PrivateEngine, foreseen: str) -> None:
    script = (
        "echo yes >/dev/shm/x && mkdir /dev/shm/d && chown 5 /dev/shm/d && echo >/dev/null && cat /dev/shm/x"
    )
    assert inside(engine, foreseen, script).stdout == "yes\n"
    assert refusals(engine, foreseen) == []


def test_what_the_filter_refuses_is_never_let_through(engine: PrivateEngine, foreseen: str) -> None:
    assert inside(engine, foreseen, "mount -t tmpfs x /mnt").returncode != 0
    assert " /mnt " not in inside(engine, foreseen, "cat /proc/mounts").stdout


# --- limits: nothing need be watched ------------------------------------------------------------------------


def test_refused_forks_are_told(engine: PrivateEngine, name: str) -> None:
    start(engine, name, "--pids-limit", "10")
    inside(engine, name, "for i in $(seq 20); do sleep 1 & done")
    row = one(engine, name, what="fork")
    assert (row["reason"], row["remedy"]) == ("pids limit of 10", f"update {name} --pids-limit 20")
    assert row["count"] > 0


def test_a_process_killed_for_memory_is_told(engine: PrivateEngine, name: str) -> None:
    start(engine, name, "--memory-limit", "32M")
    assert inside(engine, name, "x=a; while :; do x=$x$x; done").returncode == 137
    assert (
        one(engine, name, reason="memory limit of 32 MiB")["remedy"] == f"update {name} --memory-limit 64MiB"
    )


def test_held_back_cpu_is_told(engine: PrivateEngine, name: str) -> None:
    start(engine, name, "--cpu-limit", "0.2")
    inside(engine, name, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
    assert one(engine, name, reason="CPU limit of 0.2 cores")["remedy"] == f"update {name} --cpu-limit 0.4"


def test_packets_to_places_that_are_not_allowed_are_counted(engine: PrivateEngine, name: str) -> None:
    start(engine, name, "--egress-allow", "203.0.113.0/24")
    assert refusals(engine, name) == []
    for place in ("192.0.2.1", engine.gateway):
        inside(engine, name, f"nc -w 1 {place} 9 </dev/null")
    row = one(engine, name, kind="network")
    assert row["count"] >= 2
    assert row["remedy"] == "--egress-allow ADDRESS|CIDR|NAME"


def test_a_container_that_was_killed_for_memory_says_so(engine: PrivateEngine, name: str) -> None:
    script = "x=a; while :; do x=$x$x; done"
    engine.run("run", "--name", name, "--memory-limit", "32M", IMAGE, "sh", "-c", script, status=137)
    row = one(engine, name, reason="memory limit of 32 MiB")
    assert row["last"] is not None


# --- floods, deaths, strangers --------------------------------------------------------------------------------


def test_a_flood_of_refused_calls_harms_no_other(engine: PrivateEngine, running: str, name: str) -> None:
    flooder = f"{name}-flood"
    words = ("run", "-d", "--name", flooder, "--cpu-limit", "0.5", IMAGE, "sh", "-c")

    def seconds() -> float:
        began = time.monotonic()
        assert inside(engine, running, "umount /proc").returncode != 0
        return time.monotonic() - began

    calm = max(seconds() for _ in range(5))
    engine.run(*words, f"{FLOOD} & {FLOOD} & {FLOOD}")
    try:
        slowest = 0.0
        end = time.monotonic() + 10
        while time.monotonic() < end:
            slowest = max(slowest, seconds())
        assert slowest < max(3, 5 * calm)
        assert one(engine, flooder, call="umount2")["count"] > 10
        assert len(refusals(engine, flooder)) <= 202
    finally:
        engine.run("delete", "--force", flooder)


def descriptors(pid: int) -> int:
    """How many listeners of filters a process holds."""
    links = [entry for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    return sum("seccomp" in os.readlink(link) for link in links)


def test_no_listener_is_left_behind(engine: PrivateEngine, running: str, name: str) -> None:
    def held() -> tuple[int, int]:
        return descriptors(engine.daemon_pid), descriptors(engine.supervisor_pid)

    before = held()
    for _ in range(5):
        inside(engine, running, "umount /proc")
        engine.run("run", "--rm", IMAGE, "true")
    eventually(lambda: held() == before, "the listeners are closed")


@pytest.fixture
def own(make_engine: Any) -> Iterator[PrivateEngine]:
    engine = make_engine()
    yield engine
    engine.run("delete", "--force", "watched", status=None)


def test_when_the_supervisor_is_killed_refusals_stay_as_they_were(own: PrivateEngine) -> None:
    own.run("run", "-d", "--name", "watched", IMAGE, "sh", "-c", f"{FLOOD} & exec sleep 1000")
    eventually(lambda: refusals(own, "watched"), "the flood runs")
    for _ in range(3):
        os.kill(own.supervisor_pid, signal.SIGKILL)
        eventually(lambda: own.run("ps", status=None).returncode == 0, "the daemon answers")
        done = inside(own, "watched", "umount /proc")
        assert "Operation not permitted" in done.stderr, done
        count = one(own, "watched", call="umount2")["count"]
        eventually(
            lambda count=count: one(own, "watched", call="umount2")["count"] > count, "the flood goes on"
        )
    assert own.status_of("watched") == "running"


def test_when_the_daemon_is_killed_refusals_are_answered_and_recorded(own: PrivateEngine) -> None:
    script = "while :; do umount /proc 2>>/tmp/said; sleep 0.05; done"
    own.run("run", "-d", "--name", "watched", IMAGE, "sh", "-c", script)
    eventually(lambda: refusals(own, "watched"), "something was refused")
    said_so_far = Path(f"/proc/{own.inspect('watched')['State']['Pid']}/root/tmp/said")
    os.kill(own.daemon_pid, signal.SIGKILL)
    lines = len(said_so_far.read_text().splitlines())
    eventually(lambda: len(said_so_far.read_text().splitlines()) > lines + 10, "answered without a daemon")
    eventually(lambda: own.run("ps", status=None).returncode == 0, "a daemon answers")
    assert one(own, "watched", call="umount2")["count"] > lines + 10
    said = set(own.out("exec", "watched", "cat", "/tmp/said").splitlines())
    assert {line.rpartition(": ")[2] for line in said} == {"Operation not permitted"}


def test_another_users_container_is_not_found(engine: PrivateEngine, running: str) -> None:
    socket = engine.exec_root / "api.sock"
    group = socket.stat().st_gid

    def become_nobody() -> None:
        os.setgroups([group])
        os.setgid(65534)
        os.setuid(65534)

    before = engine.exec_root.stat().st_mode
    mode = socket.stat().st_mode
    os.chmod(engine.exec_root, 0o711)
    os.chmod(socket, 0o666)
    try:
        done = subprocess.run(
            [str(CLIENT), "why", running],
            env={**engine.environment, "HOME": "/"},
            preexec_fn=become_nobody,
            capture_output=True,
            text=True,
            timeout=30,
        )
    finally:
        os.chmod(socket, mode & 0o777)
        os.chmod(engine.exec_root, before & 0o777)
    assert done.returncode == 125
    assert "no container" in done.stderr.lower() or "no such" in done.stderr.lower(), done
