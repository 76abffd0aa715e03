"""``course start --orchestrator NAME``: from the teacher's files to a machine a student, on a cluster."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multios.cli.context import Context
from multios.drivers.orchestrator import Action, ApplyOptions, OrchestratorDriver
from multios.errors import Conflict, StepFailed
from multios.model.course import Course as Record
from multios_courses import course_records, orchestrated, roster, start_command, validation
from multios_courses.course_records import Wishes

_SHOWN = 5


@dataclass(slots=True)
class Planned:
    """A plan, counted. ``first`` is what is done for the first student.

    ``waiting`` are the machines for which anything has to be done, ``replaced`` those of them that run and would be ended.
    """

    created: int = 0
    started: int = 0
    changed: int = 0
    kept: int = 0
    common: bool = False
    first: list[Action] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    @property
    def to_do(self) -> int:
        """How many subjects have anything to be done."""
        return len(self.waiting) + self.common


def run(
    context: Context,
    path: Path,
    students: Path | None,
    driver: OrchestratorDriver,
    wishes: Wishes,
    replace: bool,
    dry_run: bool,
) -> int:
    """Make and start what is missing; the exit status is 1 when a machine could not be had."""
    course, _, found = validation.load(path, students, roster.MOST_ON_A_CLUSTER)
    for line in course_records.unmapped(course, found):
        sys.stderr.write(f"On {driver.name}: {line}\n")
    records = course_records.build(context, course, found, wishes, push=not dry_run)
    plans = [count(driver.plan_course(record), record) for record in records]
    if dry_run:
        _show(course.name, records, plans)
        return 0
    _refuse_to_replace(course.name, plans, replace)
    progress = orchestrated.Progress("Starting", sum(plan.to_do for plan in plans))
    try:
        for record in records:
            _apply(driver, record, progress)
    except KeyboardInterrupt:
        progress.outcome.interrupted = True
        served = {*progress.outcome.done, *(name for name, _ in progress.outcome.failed)}
        progress.outcome.left = [name for plan in plans for name in plan.waiting if name not in served]
    finally:
        progress.end()
    before = sum(plan.kept for plan in plans)
    return start_command.told(context, course, progress.outcome, len(records) * len(found), before)


def count(plan: Iterable[Action], record: Record) -> Planned:
    """Go through a plan, of which no more is kept than one student's part."""
    planned, known = Planned(), set(record.students)
    for student, group in itertools.groupby(plan, key=lambda action: action.service):
        actions = list(group)
        verbs = {action.verb for action in actions}
        if student not in known:
            planned.common = planned.common or not student and verbs != {"keep"}
            continue
        planned.first = planned.first or actions
        machine = next((action.verb for action in actions if action.number), "keep")
        if verbs == {"keep"}:
            planned.kept += 1
            continue
        planned.waiting.append(record.machine(student))
        if machine == "create":
            planned.created += 1
        elif machine == "start":
            planned.started += 1
        elif machine == "recreate":
            planned.replaced.append(record.machine(student))
        else:
            planned.changed += 1
    return planned


def _apply(driver: OrchestratorDriver, record: Record, progress: orchestrated.Progress) -> None:
    failed = len(progress.outcome.failed)
    try:
        driver.apply_course(record, progress, ApplyOptions())
    except StepFailed:
        if len(progress.outcome.failed) == failed:
            raise  # else each student's failure was told, and is shown


def _refuse_to_replace(name: str, plans: Sequence[Planned], replace: bool) -> None:
    """A changed image, command or quota ends machines in which students work: only if that is wanted."""
    replaced = [machine for plan in plans for machine in plan.replaced]
    if replaced and not replace:
        shown = ", ".join(replaced[:_SHOWN])
        raise Conflict(
            f"{len(replaced)} machines of {name} run and would be made anew, because image, command or quota changed: {shown}"
            f"{' …' if len(replaced) > _SHOWN else ''}",
            "--replace does it: what is not in a home that stays is lost",
        )


def _show(name: str, records: Sequence[Record], plans: Sequence[Planned]) -> None:
    for record, plan in zip(records, plans, strict=True):
        sys.stdout.write(
            f"{name}{f' {record.part}' if record.part else ''}: {len(record.students)} students, network {record.network}: "
            f"{plan.created} to be made, {plan.started} to be started, {plan.changed} to be changed, "
            f"{len(plan.replaced)} to be made anew, {plan.kept} as they should be\n"
        )
        if course_records.is_unknown(record):
            repository = record.image.partition("@")[0]
            sys.stdout.write(
                f"  its image is pushed to {repository} before; what runs with the same one stays\n"
            )
        else:
            sys.stdout.write(f"  image {record.image}\n")
        for action in plan.first:
            sys.stdout.write(f"  {action.verb} {action.kind} {action.subject}: {action.reason}\n")
