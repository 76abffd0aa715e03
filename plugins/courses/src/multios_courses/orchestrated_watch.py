"""``course status``, ``stop`` and ``wipe`` with ``--orchestrator``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multios.cli.output import print_rows
from multios.cli.tables import span
from multios.drivers.orchestrator import OrchestratorDriver
from multios.errors import Conflict
from multios.model.course import MISSING, RUNNING, STARTING, CourseMachine
from multios_courses import machines, orchestrated, roster, validation
from multios_courses.commands import confirmed
from multios_courses.course_file import Course
from multios_courses.roster import Student
from multios_courses.wiping import name_of

_COLUMNS = (
    ("STUDENT", "Student", lambda row: row["student"]),
    ("NAME", "Name", lambda row: row["name"]),
    ("MACHINE", "Machine", lambda row: row["machine"]),
    ("STATE", "State", lambda row: row["state"]),
    ("SINCE", "Since", lambda row: span(time.time() - row["since"]) if row["since"] else ""),
    ("PROBLEM", "Problem", lambda row: row["problem"]),
)


def status(path: Path, students: Path | None, form: str | None, driver: OrchestratorDriver) -> int:
    """A row a machine, in the order of the roster; then those of students who are not in it."""
    course, _, found = validation.load(path, students, roster.MOST_ON_A_CLUSTER)
    print_rows(list(_rows(course, found, driver)), _COLUMNS, form)
    return 0


def _rows(
    course: Course, students: tuple[Student, ...], driver: OrchestratorDriver
) -> Iterator[dict[str, Any]]:
    there = {(machine.student, machine.part): machine for machine in driver.course_state(course.name)}
    parts = [suffix.removeprefix("-") for suffix in machines.suffixes(course.templates)]
    for student in students:
        for part in parts:
            name = "-".join(filter(None, (course.name, student.id, part)))
            machine = there.pop((student.id, part), None) or CourseMachine(student.id, part, name, MISSING)
            yield _row(machine, student)
    for machine in there.values():
        yield {**_row(machine, Student(machine.student)), "problem": machine.problem or "not in the roster"}


def _row(machine: CourseMachine, student: Student) -> dict[str, Any]:
    return {
        "student": student.id,
        "name": student.name,
        "group": student.group,
        "machine": machine.name,
        "template": machine.part,
        "state": machine.state,
        "since": machine.since or None,
        "problem": machine.problem,
    }


def stop(path: Path, yes: bool, driver: OrchestratorDriver) -> int:
    """Stop what runs; unless ``yes``, only if what students made outlives it."""
    name = name_of(path)
    running = [row for row in driver.course_state(name) if row.state in (RUNNING, STARTING)]
    lost = [row.name for row in running if not row.keeps]
    if lost and not yes:
        raise Conflict(
            f"{len(lost)} machines of {name} have no home that stays: stopped, all work in them is gone",
            "collect it first, or say --yes; with quota.disk in the course's file homes stay",
        )
    progress = orchestrated.Progress("Stopping", len(running))
    try:
        driver.stop_course(name, progress)
    finally:
        progress.end()
    sys.stdout.write(f"{len(progress.outcome.done)} machines of {name} stopped\n")
    return 0


def wipe(path: Path, yes: bool, driver: OrchestratorDriver) -> int:
    """Remove all that has the course's label; the orchestrator looks again, and names what is left as an error."""
    name = name_of(path)
    found = sum(1 for _ in driver.course_state(name))
    if found and not confirmed(
        f"Remove {found} machines of {name} on {driver.name}, with all work in them?", yes
    ):
        sys.stderr.write("Nothing was removed; --yes does it without asking\n")
        return 1
    progress = orchestrated.Progress("Removing", found)
    try:
        driver.destroy_course(name, progress)
    finally:
        progress.end()
    gone = orchestrated.counted(progress.others)
    sys.stdout.write(f"{gone} of {name} removed\n" if progress.others else f"nothing of {name} is there\n")
    sys.stdout.write(f"nothing of {name} is left: no object of the cluster has its label\n")
    return 0
