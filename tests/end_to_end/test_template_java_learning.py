"""The template java-learning, built on Debian 12: its checks, and its lesson."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import course_machine
from course_machine import CourseMachine
from private_engine import PrivateEngine

pytestmark = [pytest.mark.needs_network, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def machine(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CourseMachine]:
    yield from course_machine.started(engine, "java-learning", tmp_path_factory.mktemp("java-learning"))


def test_maven_answers(machine: CourseMachine) -> None:
    assert "Apache Maven 3." in machine.out("mvn", "--version")


def test_every_check_holds(machine: CourseMachine) -> None:
    assert machine.failed_checks() == {}


def test_the_lesson_goes_as_written(machine: CourseMachine) -> None:
    assert machine.lesson() >= 20
