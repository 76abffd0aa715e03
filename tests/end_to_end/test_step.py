"""``create --step`` and ``start --step``: each step is told, waits on a terminal, and giving up leaves nothing half-done."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from private_engine import IMAGE, PrivateEngine, eventually

CREATE = ["take id range", "prepare rootfs", "make directory", "record"]
START = [
    *("make network", "write network files", "apply security", "create container", "attach network"),
    *("tell its names", "publish ports", "record", "start"),
]
PROMPT = "[Enter goes on, Ctrl-C gives up]"


class Walker:
    """A client on a terminal of its own."""

    def __init__(self, engine: PrivateEngine, *words: str) -> None:
        self._master, slave = pty.openpty()
        self.process = engine.popen(*words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.text = ""

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def until(self, pattern: str) -> str:
        """Read on until ``pattern`` is there; what has come since the last time."""
        begin, deadline = len(self.text), time.monotonic() + 30
        while not re.search(pattern, self.text[begin:]):
            assert time.monotonic() < deadline, self.text
            if select.select([self._master], [], [], 1)[0]:
                try:
                    self.text += os.read(self._master, 65536).decode()
                except OSError:
                    break
        return self.text[begin:]

    def stops(self) -> str:
        """The step after which it waits, once it does."""
        said = self.until(re.escape(PROMPT))
        return re.findall(r"Step \d+: ([a-z ]+)\r\n", said)[-1]

    def enter(self) -> None:
        os.write(self._master, b"\r")


@pytest.fixture
def walker(engine: PrivateEngine) -> Iterator[list[Walker]]:
    made: list[Walker] = []
    yield made
    for one in made:
        one.close()


def holdings(engine: PrivateEngine) -> tuple[set[str], set[str], set[str]]:
    """What a container has on disk and on the host."""
    snapshots = {path.name for path in (engine.data_root / "snapshots/overlay/index").iterdir()}
    directories = {path.name for path in (engine.data_root / "containers").iterdir()}
    links = {path.name for path in Path(f"/sys/class/net/{engine.bridge}/brif").iterdir()}
    return snapshots, directories, links


def names(text: str) -> list[str]:
    return re.findall(r"^Step \d+: ([a-z ]+)$", text, re.MULTILINE)


def test_without_a_terminal_the_steps_are_told_and_nothing_waits(engine: PrivateEngine, name: str) -> None:
    made = engine.out("create", "--step", "--name", name, "-p", "127.0.0.1:0:80", IMAGE, "sleep", "1000")
    assert names(made) == CREATE
    assert "below it lies the one layer of the image" in " ".join(made.split())
    assert engine.status_of(name) == "created" and engine.inspect(name)["Id"] == made.splitlines()[-1]
    begun = engine.out("start", "--step", name)
    assert names(begun) == START
    assert engine.status_of(name) == "running"
    pid = engine.inspect(name)["State"]["Pid"]
    assert f"number {pid} on the host" in begun and "11 capabilities" in begun


def test_every_step_says_something(engine: PrivateEngine, name: str) -> None:
    text = engine.out("create", "--step", "--name", name, IMAGE, "true") + engine.out("start", "--step", name)
    for part in text.split("Step ")[1:]:
        assert len(part.splitlines()[1].strip()) > 40, part


def test_on_a_terminal_the_process_stands_still_between_the_steps(
    engine: PrivateEngine, name: str, walker: list[Walker]
) -> None:
    engine.run("create", "--name", name, IMAGE, "sleep", "1000")
    walker.append(Walker(engine, "start", "--step", name))
    stopped = ""
    while stopped != "create container":
        if stopped:
            walker[0].enter()
        stopped = walker[0].stops()
    found = re.search(r"number (\d+) on the host", walker[0].text)
    assert found is not None
    pid = found[1]
    assert Path(f"/proc/{pid}/cmdline").read_bytes() != b"sleep\x001000\x00"
    assert os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    assert "eth0" not in Path(f"/proc/{pid}/net/dev").read_text()
    walker[0].enter()
    assert walker[0].stops() == "attach network"
    assert "eth0" in Path(f"/proc/{pid}/net/dev").read_text()
    assert engine.status_of(name) == "created"
    while "Step" in (said := _onwards(walker[0])):
        if "start\r\n" in said:
            break
    eventually(lambda: engine.status_of(name) == "running", "it runs")
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
    assert walker[0].process.wait(timeout=30) == 0


def _onwards(walker: Walker) -> str:
    walker.enter()
    return walker.until(re.escape(PROMPT) + r"|Step \d+: start\r\n")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("step", range(len(CREATE) - 1))
def test_giving_up_a_create_leaves_nothing(
    engine: PrivateEngine, name: str, walker: list[Walker], step: int, ending: signal.Signals
) -> None:
    before = holdings(engine)
    walker.append(Walker(engine, "create", "--step", "--name", name, IMAGE, "sleep", "1000"))
    for _ in range(step):
        walker[0].stops()
        walker[0].enter()
    assert walker[0].stops() == CREATE[step]
    walker[0].process.send_signal(ending)
    assert walker[0].process.wait(timeout=30) == (130 if ending == signal.SIGINT else -ending)
    eventually(lambda: holdings(engine) == before, "all is as before")
    engine.run("inspect", name, status=125)
    engine.run("create", "--name", name, IMAGE, "sleep", "1000")


@pytest.mark.parametrize("step", range(len(START) - 1))
def test_giving_up_a_start_leaves_a_created_container(
    engine: PrivateEngine, name: str, walker: list[Walker], step: int
) -> None:
    engine.run("create", "--name", name, "-p", "127.0.0.1:0:80", IMAGE, "sleep", "1000")
    before = holdings(engine)
    walker.append(Walker(engine, "start", "--step", name))
    for _ in range(step):
        walker[0].stops()
        walker[0].enter()
    assert walker[0].stops() == START[step]
    walker[0].process.send_signal(signal.SIGINT)
    assert walker[0].process.wait(timeout=30) == 130
    assert engine.status_of(name) == "created"
    eventually(lambda: holdings(engine) == before, "all is as before")
    if found := re.search(r"number (\d+) on the host", walker[0].text):
        assert not Path(f"/proc/{found[1]}").exists()
    engine.run("start", name)
    assert engine.status_of(name) == "running"


def test_others_go_on_while_one_thinks(engine: PrivateEngine, name: str, walker: list[Walker]) -> None:
    engine.run("create", "--name", name, IMAGE, "sleep", "1000")
    walker.append(Walker(engine, "start", "--step", name))
    walker[0].stops()
    begun = time.monotonic()
    engine.run("run", "--rm", IMAGE, "true")
    engine.run("ps", "--all")
    engine.run("explain", name)
    assert time.monotonic() - begun < 20
    walker[0].process.send_signal(signal.SIGINT)
    assert walker[0].process.wait(timeout=30) == 130


def test_only_one_container_at_a_time(engine: PrivateEngine, running: str) -> None:
    failed = engine.run("start", "--step", running, "another", status=125)
    assert "one container" in failed.stderr
    assert engine.out("start", "--step", running) == running  # it runs already: there is no step
