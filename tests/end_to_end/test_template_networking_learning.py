"""The template networking-learning, built on Debian 12: its checks, its lesson, and the one right that it asks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import course_machine
from course_machine import CourseMachine
from private_engine import PrivateEngine

pytestmark = [pytest.mark.needs_network, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def machine(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CourseMachine]:
    yield from course_machine.started(
        engine, "networking-learning", tmp_path_factory.mktemp("networking-learning")
    )


def test_tcpdump_answers(machine: CourseMachine) -> None:
    assert "tcpdump version" in machine.out("tcpdump", "--version")


def test_raw_sockets_are_all_that_it_may_do_beyond_the_default(machine: CourseMachine) -> None:
    held = int(machine.shell("grep CapEff /proc/self/status").split()[1], 16)
    plain = int(
        machine.engine.out("run", "--rm", "small:1", "grep", "CapEff", "/proc/self/status").split()[1], 16
    )
    raw = 1 << 13  # capabilities(7): CAP_NET_RAW
    assert held == plain | raw
    with pytest.raises(AssertionError):
        machine.out("ip", "link", "set", "lo", "down")


def test_every_check_holds(machine: CourseMachine) -> None:
    assert machine.failed_checks() == {}


def test_the_lesson_goes_as_written(machine: CourseMachine) -> None:
    assert machine.lesson() >= 20
