"""A probe is killed with all that it has started, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from multios.engine import probe_processes

EXEC_ID = "0123456789ab-health-0001"


class Processes:
    """The processes of a session that stands for a container."""

    def __init__(self, group: Path) -> None:
        self.group = group

    def processes(self, container_id: str) -> tuple[int, ...]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    if os.readlink(entry / "cwd") == str(self.group):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return tuple(found)


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    for pid in made.processes(""):
        os.kill(pid, signal.SIGKILL)


def start(script: str, inside: Processes, mark: str = EXEC_ID) -> subprocess.Popen[bytes]:
    environment = {**os.environ, probe_processes.VARIABLE: mark}
    return subprocess.Popen(["sh", "-c", script], cwd=inside.group, env=environment)


def number_of(inside: Processes, wanted: int) -> int:
    deadline = time.monotonic() + 10
    while len(inside.processes("")) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(inside.processes(""))


@pytest.mark.parametrize(
    ("script", "many"),
    [
        ("exec sleep 1000", 1),
        ("sleep 1000 & sleep 1000 & wait", 3),
        ("(setsid sleep 1000 &); (sleep 1000 &); exec sleep 1000", 3),
        ("env -i sleep 1000 & env -i sh -c 'sleep 1000; true' & wait", 4),
        ("trap '' TERM INT HUP; sleep 1000; true", 2),
    ],
)
def test_all_of_it_is_killed_and_no_other(inside: Processes, script: str, many: int) -> None:
    other = start("exec sleep 1000", inside, "0123456789ab-health-0002")
    probe = start(script, inside)
    assert number_of(inside, many + 1) == many + 1
    probe_processes.kill(cast(Any, inside), "", EXEC_ID, probe.pid)
    assert probe.wait(10) == -signal.SIGKILL
    assert number_of(inside, 1) == 1
    assert other.poll() is None
    other.kill()
    other.wait()


def test_one_that_starts_others_all_the_time_is_killed_too(inside: Processes) -> None:
    probe = start("while :; do sleep 1000 & sleep 0.01; done", inside)
    time.sleep(0.3)
    probe_processes.kill(cast(Any, inside), "", EXEC_ID, probe.pid)
    probe.wait(10)
    assert number_of(inside, 0) == 0


def test_what_has_ended_is_no_error_and_what_has_its_pid_is_left_alone(inside: Processes) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    probe_processes.kill(cast(Any, inside), "", EXEC_ID, ended.pid)
    alive = start("exec sleep 1000", inside, "none")
    found = probe_processes._read(alive.pid)
    assert found is not None
    probe_processes._signal(
        probe_processes._Process(alive.pid, found.parent, found.began - 1), signal.SIGKILL
    )
    time.sleep(0.1)
    assert alive.poll() is None
    alive.kill()
    alive.wait()
