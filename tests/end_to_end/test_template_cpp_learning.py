"""The template cpp-learning, built on Debian 12: its checks, its lesson, and what a student could not do without ptrace(2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import course_machine
from course_machine import CourseMachine
from private_engine import PrivateEngine

pytestmark = [pytest.mark.needs_network, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def machine(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CourseMachine]:
    yield from course_machine.started(engine, "cpp-learning", tmp_path_factory.mktemp("cpp-learning"))


def test_the_compiler_answers(machine: CourseMachine) -> None:
    assert "gcc (" in machine.out("gcc", "--version")


def test_it_holds_no_right_beyond_the_default(machine: CourseMachine) -> None:
    host = machine.engine.inspect(machine.name)["HostConfig"]
    assert not host.get("CapAdd")


def test_every_check_holds(machine: CourseMachine) -> None:
    assert machine.failed_checks() == {}


def test_the_lesson_goes_as_written(machine: CourseMachine) -> None:
    assert machine.lesson() >= 20
