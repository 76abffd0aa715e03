"""``course start --lab --orchestrator NAME``: a lab's files, steps and values into the machines that students have on a cluster.

A lab has no machine of its own there. What a student gets is written by the student's own machine, which is asked first whether it
has the lab: what it says and does is the student's, and is bounded in bytes and in time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from multios.cli.context import Context
from multios.drivers.orchestrator import CopyBounds, OrchestratorDriver
from multios.errors import Conflict, MultiosError, NotFound
from multios.model.course import HOME, CourseMachine
from multios_courses import lab_machines, labs, orchestrated_start, roster, validation
from multios_courses.collecting import chosen_labs
from multios_courses.course_file import Course
from multios_courses.course_records import Wishes
from multios_courses.lab_machines import LabMachine
from multios_courses.roster import Student
from multios_courses.start_command import INTERRUPTED, tell_failures
from multios_courses.starting import News
from multios_courses.telling import QueueBar

_AT_ONCE = 8
_ASKING = CopyBounds(1 << 16, 30.0)
_WRITE_SECONDS = 300.0
_RENDER_SECONDS = 60.0


def run(
    context: Context,
    path: Path,
    students: Path | None,
    driver: OrchestratorDriver,
    wishes: Wishes,
    replace: bool,
    dry_run: bool,
    name: str,
    seed: str | None,
) -> int:
    """Start what is missing, then give the lab to who has not got it; 1 when somebody could not be served.

    What of the lab cannot be on a cluster is refused, and what is otherwise said, before anything is made.
    """
    labs.require("start --lab")
    course, _, found = validation.load(path, students, roster.MOST_ON_A_CLUSTER)
    validation.check_files(course)
    (lab,) = chosen_labs(course, name)
    wanted = lab_machines.of(context, course, lab)
    _refuse_shared_files(context, course, wanted)
    with labs.seeded(seed, found) as seeded, tempfile.TemporaryDirectory(prefix="course-lab-") as place:
        giving = _Giving(context.client.path, driver, course, wanted, seeded, Path(place))
        file, said = giving.render(found[0])
        file.unlink()
        if said:
            sys.stderr.write(f"On {driver.name}, lab {lab.name}: {said}\n")
        status = orchestrated_start.run(context, path, students, driver, wishes, replace, dry_run)
        if dry_run or status == INTERRUPTED:
            return status
        return max(status, _give(context, giving, found))


def _refuse_shared_files(context: Context, course: Course, wanted: LabMachine) -> None:
    """On a host each lab has a machine of its own; here one would write over the work on another."""
    for other in course.labs:
        if other.name == wanted.lab.name:
            continue
        its = lab_machines.of(context, course, other)
        if its.part == wanted.part and (both := sorted(its.files & wanted.files)):
            raise Conflict(
                f"labs {wanted.lab.name} and {other.name} both have {both[0]}, and are in one machine on a cluster",
                "give each lab a directory of its own",
            )


@dataclass(frozen=True, slots=True)
class _Giving:
    """A lab for students of a course. ``place`` is a directory of ours for what is on its way."""

    socket: str
    driver: OrchestratorDriver
    course: Course
    wanted: LabMachine
    seeded: labs.Seeded
    place: Path

    def render(self, student: Student) -> tuple[Path, str]:
        """A tar of what the student gets, which the caller removes, and what of the lab is otherwise there."""
        file = self.place / f"{student.id}.tar"
        words = ["render", str(self.wanted.lab.path), "--student", student.id, "--output", str(file)]
        said = labs.run(
            self.socket, [*words, *self.seeded.words], os.geteuid(), self.course.folder, _RENDER_SECONDS,
            self.seeded.environment,
        )  # fmt: skip
        if said.status:
            raise said.failure()
        return file, labs.harmless(said.error)

    def give(self, student: Student, machine: CourseMachine) -> bool:
        """Whether the student had to be given it."""
        with tempfile.TemporaryFile() as archive:
            try:
                self.driver.copy_out_of_course(
                    self.course.name, machine, self.wanted.given, archive.fileno(), _ASKING
                )
                return False
            except NotFound:
                pass
        file, _ = self.render(student)
        try:
            with file.open("rb") as archive:
                self.driver.copy_into_course(
                    self.course.name, machine, HOME, archive.fileno(), _WRITE_SECONDS
                )
        finally:
            file.unlink()
        return True


def _give(context: Context, giving: _Giving, students: Sequence[Student]) -> int:
    """Side by side, and say what came of it; 1 when somebody has not got it."""
    course, lab = giving.course.name, giving.wanted.lab.name
    there = {
        machine.student: machine
        for machine in giving.driver.course_state(course)
        if machine.part == giving.wanted.part
    }

    def one(student: Student) -> bool | MultiosError:
        try:
            if student.id not in there:
                raise NotFound("no machine of the course", "start the course again")
            return giving.give(student, there[student.id])
        except MultiosError as error:
            return error
        except OSError as error:
            return MultiosError(f"{error}", "see whether there is room in the directory for temporary files")

    bar, begun = QueueBar(sys.stderr, f"Giving {lab}"), time.monotonic()
    given, failed = 0, []
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for number, (student, came) in enumerate(zip(students, pool.map(one, students), strict=True), 1):
                if isinstance(came, MultiosError):
                    failed.append((student.id, came))
                else:
                    given += came
                left = (time.monotonic() - begun) / number * (len(students) - number)
                bar(News(number, len(students), student.id, left))
    finally:
        bar.end()
    tell_failures(context, failed)
    have = len(students) - len(failed)
    sys.stdout.write(
        f"{have} of {len(students)} students have lab {lab}: {given} were given it, {have - given} had it\n"
    )
    return 1 if failed else 0
