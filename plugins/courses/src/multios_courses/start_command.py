"""``course start``: from the teacher's files to a machine a student."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multios.api.client import Client
from multios.cli.context import Context
from multios.errors import Conflict, MultiosError
from multios_courses import machines, materials, networking, validation
from multios_courses.course_file import Course
from multios_courses.machines import Machine
from multios_courses.starting import Job, Outcome, Queue
from multios_courses.telling import QueueBar, duration

_SHOWN_FAILURES = 10
INTERRUPTED = 130


def run(
    context: Context, path: Path, students: Path | None, at_once: int | None, dry_run: bool = False
) -> int:
    """Make and start what is missing; the exit status is 1 when a machine could not be had."""
    course, file, roster = validation.load(path, students)
    wanted = machines.expected(course, roster)
    uids = machines.owners(wanted, str(file))
    if dry_run:
        materials.check(context, course)
        there = machines.by_key(machines.existing(context.client, course.name), uids, wanted)
        return _shown(course, wanted, there)
    _refuse_others(course, wanted, machines.existing(context.client, course.name), uids)
    materials.provide(context, course)
    shared = any(uid != os.geteuid() for uid in uids.values())
    network = networking.ensure(context.client, course, len(wanted), shared)
    there = machines.by_key(machines.existing(context.client, course.name), uids, wanted)
    jobs = _jobs(course, wanted, there, network, uids)
    outcome = queued(context, jobs, at_once)
    return told(context, course, outcome, len(wanted), len(wanted) - len(jobs))


def _shown(course: Course, wanted: Sequence[Machine], there: dict[str, Any]) -> int:
    """Say what a start would do, and for the first student one by one."""
    verbs = {machine.name: _verb(there.get(machine.name)) for machine in wanted}
    counts = [list(verbs.values()).count(verb) for verb in ("create", "start", "keep")]
    sys.stdout.write(
        f"{course.name}: {len({machine.student.id for machine in wanted})} students, network {course.policy}: "
        f"{counts[0]} to be made, {counts[1]} to be started, {counts[2]} as they should be\n"
    )
    for machine in wanted:
        if machine.student == wanted[0].student:
            sys.stdout.write(
                f"  {verbs[machine.name]} container {machine.name} of {machine.template.source}\n"
            )
    return 0


def _refuse_others(
    course: Course, wanted: Sequence[Machine], found: Sequence[dict[str, Any]], uids: dict[str, int]
) -> None:
    """Raise ``Conflict`` where a student's machine is there and of something else. What another user called so is no reason."""
    there = machines.by_key(found, uids, wanted)
    made_of = {(row["name"], row["owner"]): row["labels"].get(machines.TEMPLATE_LABEL, "") for row in found}
    others = [
        (machine, source)
        for machine in wanted
        if machine.name not in there and (source := made_of.get((machine.name, uids[machine.owner])))
    ]
    if others:
        machine, source = others[0]
        names = f"{machine.name} is" if len(others) == 1 else f"{machine.name} and {len(others) - 1} more are"
        raise Conflict(
            f"{names} there already, made of {source}: {course.file} now says {machine.template.source}",
            f"collect what is in them, then `multios-container course wipe {course.name}`",
        )


def _verb(row: dict[str, Any] | None) -> str:
    if row is None:
        return "create"
    return "start" if row["status"] in ("created", "exited") else "keep"


def _jobs(
    course: Course, wanted: Sequence[Machine], there: dict[str, Any], network: str, uids: dict[str, int]
) -> list[Job]:
    """What is to be done: machines that run need nothing, those that are stopped a start."""
    jobs = []
    for machine in wanted:
        row = there.get(machine.name)
        if row is None:
            jobs.append(Job(machine.name, _Maker(course, machine, network, uids)))
        elif row["status"] in ("created", "exited"):
            jobs.append(Job(machine.name, _Known(row["id"])))
    return jobs


class _Known:
    """A machine that is there."""

    def __init__(self, machine_id: str) -> None:
        self._id = machine_id

    def __call__(self, client: Client) -> str:
        """Its id."""
        return self._id


class _Maker:
    """Makes a machine once, however often it is asked."""

    def __init__(self, course: Course, machine: Machine, network: str, uids: dict[str, int]) -> None:
        self._course, self._machine, self._uids = course, machine, uids
        self._params: dict[str, Any] = {"config": machines.document(course, machine, network)}
        if machine.owner:
            self._params["owner"] = machine.owner
        self._id, self._asked = "", False

    def __call__(self, client: Client) -> str:
        """Its id."""
        if not self._id:
            again, self._asked = self._asked, True
            try:
                self._id = client.call("containers.create", self._params)["id"]
            except Conflict:
                if not again or not (found := self._found(client)):
                    raise
                self._id = found  # a daemon that ended before it answered had made it
        return self._id

    def _found(self, client: Client) -> str:
        rows = machines.existing(client, self._course.name)
        row = machines.by_key(rows, self._uids, [self._machine]).get(self._machine.name)
        return str(row["id"]) if row else ""


def queued(context: Context, jobs: Sequence[Job], at_once: int | None) -> Outcome:
    """Do the jobs, and show how far they are."""
    bar = QueueBar(sys.stderr, "Starting")
    try:
        return Queue(jobs, context.another_client, bar).run(at_once)
    finally:
        bar.end()


def told(context: Context, course: Course, outcome: Outcome, total: int, before: int) -> int:
    """Say what came of it; the exit status."""
    tell_failures(context, outcome.failed)
    running = before + len(outcome.done)
    sys.stdout.write(
        f"{running} of {total} machines of {course.name} run: {len(outcome.done)} started"
        f"{f' in {duration(outcome.seconds)}' if outcome.done else ''}, {before} ran already\n"
    )
    if outcome.interrupted:
        sys.stderr.write(
            f"Interrupted: what was made stays. `course start` again makes the other {len(outcome.left)}, "
            f"`course wipe` removes all\n"
        )
        return INTERRUPTED
    return 1 if outcome.failed else 0


def tell_failures(context: Context, failed: Sequence[tuple[str, MultiosError]]) -> None:
    """Say why machines failed, those that failed alike in one."""
    alike: dict[str, list[tuple[str, MultiosError]]] = {}
    for name, error in failed:
        alike.setdefault(error.cause.replace(name, "…"), []).append((name, error))
    for (name, error), *more in list(alike.values())[:_SHOWN_FAILURES]:
        error.cause = f"{name}{f' and {len(more)} more' if more else ''}: {error.cause}"
        context.report(error)
    if hidden := sum(map(len, list(alike.values())[_SHOWN_FAILURES:])):
        sys.stderr.write(f"{hidden} more failed; see `course status`\n")
