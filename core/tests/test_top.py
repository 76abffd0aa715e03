"""``top``: what it shows of processes, here of ones that are in no container."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import replace
from typing import Any, cast

import pytest
from engine_box import Box

from multios.drivers.isolation import IsolationDriver
from multios.engine.top import top
from multios.errors import InvalidInput
from multios.model.container import Container
from multios.model.mount import IdMap


class Processes:
    """An isolation driver that has these processes."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids

    def processes(self, container_id: str) -> tuple[int, ...]:
        return self.pids


def shown(container: Container, pids: tuple[int, ...], *words: str) -> list[list[str]]:
    answer = top(cast(IsolationDriver, Processes(*pids)), container, words)
    rows: list[list[str]] = answer["processes"]
    return rows


@pytest.fixture
def container(box: Box) -> Any:
    return replace(box.create(), pid=os.getpid(), id_map=None)


def test_a_parent_that_is_not_inside_is_0(container: Container) -> None:
    waiting = "print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", waiting, "an argument"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()  # it runs
    try:
        rows = shown(container, (child.pid, os.getpid()), "hpid", "ppid", "args")
    finally:
        child.communicate(b"\n")
    found = {row[0]: row[1:] for row in rows}
    assert found[str(os.getpid())][0] == "0"
    parent, arguments = found[str(child.pid)]
    assert parent != "0" and arguments.endswith("input() an argument")


def test_users_are_those_of_the_container(container: Container) -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    assert shown(container, (os.getpid(),), "user") == [[name]]
    elsewhere = replace(container, id_map=IdMap(1 << 30))
    assert shown(elsewhere, (os.getpid(),), "user") == [["-1"]]


def test_what_would_steer_a_terminal_is_not_shown(container: Container) -> None:
    pipe, script = subprocess.PIPE, "print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-S", "-c", script, "\x1b[2J"], stdin=pipe, stdout=pipe)
    assert child.stdout is not None
    child.stdout.readline()  # a program that is only being started has no words yet
    try:
        assert shown(container, (child.pid,), "args")[0][0].endswith("?[2J")
    finally:
        child.communicate(b"\n")


def test_a_process_that_has_ended_is_left_out(container: Container) -> None:
    assert shown(container, (os.getpid(), 1 << 22), "pid", "comm", "stat", "pcpu", "time", "etime")[1:] == []


def test_an_unknown_column_is_named(container: Container) -> None:
    with pytest.raises(InvalidInput, match="'pdi'") as caught:
        shown(container, (), "pdi")
    assert "'pid'" in (caught.value.remedy or "")
