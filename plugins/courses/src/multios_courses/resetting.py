"""``course reset``: some students' machines begin anew, on this host or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from multios.cli.context import Context
from multios.drivers.orchestrator import OrchestratorDriver
from multios.errors import StepFailed, unknown
from multios.model.course import MISSING, STUDENT_LABEL
from multios_courses import machines, orchestrated
from multios_courses.commands import confirmed
from multios_courses.wiping import each, name_of

_AT_ONCE = 4


def run(context: Context, path: Path, students: Sequence[str], yes: bool) -> int:
    """Those on this host; 1 when one could not be put back."""
    name = name_of(path)
    there = machines.existing(context.client, name)
    _check(name, students, {row["labels"].get(STUDENT_LABEL, "") for row in there})
    chosen = [row for row in there if row["labels"].get(STUDENT_LABEL) in students]
    if not _wanted(f"{_counted(len(chosen))} of {name}, with all work in them but volumes", yes):
        return 1
    failed = each(
        context,
        [(row["name"], row["id"]) for row in chosen],
        lambda client, ref: client.call("containers.reset", {"ref": ref}),
        _AT_ONCE,
    )
    return _told(name, len(chosen) - failed, failed)


def run_elsewhere(path: Path, students: Sequence[str], yes: bool, driver: OrchestratorDriver) -> int:
    """Those that an orchestrator has; 1 when one could not be put back."""
    name = name_of(path)
    there = [machine for machine in driver.course_state(name) if machine.state != MISSING]
    _check(name, students, {machine.student for machine in there})
    chosen = [machine for machine in there if machine.student in students]
    kept = "but homes that stay" if all(machine.keeps for machine in chosen) else "homes, too"
    if not _wanted(f"{_counted(len(chosen))} of {name} on {driver.name}, with all work in them, {kept}", yes):
        return 1
    progress = orchestrated.Progress("Resetting", len(chosen))
    try:
        driver.reset_course(name, chosen, progress)
    except StepFailed:
        if not progress.outcome.failed:
            raise  # else each one's failure was told, and is shown
    finally:
        progress.end()
    for machine, error in progress.outcome.failed:
        sys.stderr.write(f"{machine}: {error.cause}\n")
    return _told(name, len(progress.outcome.done), len(progress.outcome.failed))


def _check(course: str, students: Sequence[str], there: set[str]) -> None:
    for student in students:
        if student not in there:
            raise unknown(
                "student",
                student,
                sorted(there),
                f"see who has a machine: multios-container course status {course}",
            )


def _wanted(what: str, yes: bool) -> bool:
    if confirmed(f"Put back {what}?", yes):
        return True
    sys.stderr.write("Nothing was put back; --yes does it without asking\n")
    return False


def _told(course: str, done: int, failed: int) -> int:
    sys.stdout.write(f"{_counted(done)} of {course} put back to the beginning\n")
    return 1 if failed else 0


def _counted(count: int) -> str:
    return f"{count} machine{'' if count == 1 else 's'}"
