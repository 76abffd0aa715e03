"""``course collect --orchestrator NAME``: students' work out of their machines on a cluster, in the same files as on a host.

Nobody submits there: the teacher copies, with the orchestrator's rights. So no student has signed the work and no engine has seen the
machine, and everything that comes out of one is a student's own: it is spooled with bounds and read by the labs' plugin alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from multios.cli.context import Context
from multios.drivers.orchestrator import CopyBounds, OrchestratorDriver
from multios.errors import InvalidInput, MultiosError, NotFound
from multios.model.course import CourseMachine
from multios_courses import collecting, lab_machines, labs, roster, validation
from multios_courses.collecting import COLLECTED, FAILED, MISSING
from multios_courses.lab_machines import LabMachine
from multios_courses.roster import Student

SIGNED = "no: copied by the teacher"
_AT_ONCE = 8
_COPY_SECONDS = 300.0


def run(
    context: Context,
    path: Path,
    students: Path | None,
    output: Path | None,
    lab: str | None,
    form: str | None,
    driver: OrchestratorDriver,
) -> int:
    """Copy, and say who is missing; 1 when something that is there could not be had."""
    labs.require("collect")
    course, _, found = validation.load(path, students, roster.MOST_ON_A_CLUSTER)
    sources = [lab_machines.of(context, course, one) for one in collecting.chosen_labs(course, lab)]
    for source in sources:
        if not source.submit:
            raise InvalidInput(
                f"lab {source.lab.name!r} takes nothing in",
                f'{source.lab.path}/lab.toml needs submit = ["/root/work"]',
            )
    _tell_of_shared(sources)
    there = {(machine.student, machine.part): machine for machine in driver.course_state(course.name)}
    folder = output or course.folder / collecting.FOLDER
    for source in sources:
        (folder / source.lab.name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def collect(pair: tuple[LabMachine, Student]) -> dict[str, Any]:
        source, student = pair
        machine = there.get((student.id, source.part))
        target = collecting.file_of(folder, source.lab.name, student.id)
        return _collected(context.client.path, driver, course.name, source, student, machine, target)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rows = list(pool.map(collect, [(source, student) for source in sources for student in found]))
    status = collecting.told(rows, folder, form)
    for row in rows:
        if row["state"] == COLLECTED and row["problem"]:
            sys.stderr.write(f"{row['student']}: {row['lab']}: {row['problem']}\n")
    sys.stderr.write(
        f"On {driver.name}: not signed by the students and attested by no engine, because you have copied it from their machines\n"
    )
    return status


def _tell_of_shared(sources: Sequence[LabMachine]) -> None:
    """On a host each lab has a machine of its own; here those of one machine may mean the same directory."""
    seen: dict[tuple[str, str], str] = {}
    for source in sources:
        for place in source.work.values():
            other = seen.setdefault((source.part, place), source.lab.name)
            if other != source.lab.name:
                sys.stderr.write(
                    f"Labs {other} and {source.lab.name} both take in {place}: each gets all that is there\n"
                )


def _collected(
    socket: str,
    driver: OrchestratorDriver,
    course: str,
    source: LabMachine,
    student: Student,
    machine: CourseMachine | None,
    target: Path,
) -> dict[str, Any]:
    row = {
        "student": student.id,
        "name": student.name,
        "lab": source.lab.name,
        "state": MISSING,
        "file": "",
        "problem": "no machine of the course",
        "signed": "",
    }
    if machine is None:
        return row
    try:
        with tempfile.TemporaryDirectory(prefix=f".{student.id}.", dir=target.parent) as place:
            trees = _copied(driver, course, source, machine, Path(place))
            if not trees:
                return row | {"problem": f"there is no {' nor '.join(source.work.values())}"}
            note = _pack(socket, source, student, machine, trees, target)
    except (MultiosError, OSError) as error:
        return row | {"state": FAILED, "problem": getattr(error, "cause", str(error))}
    return row | {"state": COLLECTED, "file": str(target), "problem": note, "signed": SIGNED}


def _copied(
    driver: OrchestratorDriver, course: str, source: LabMachine, machine: CourseMachine, place: Path
) -> dict[str, Path]:
    """A tar of each of the lab's paths that is there; together they are within the bound of one submission."""
    trees: dict[str, Path] = {}
    left = collecting.LARGEST_SUBMISSION
    for number, (path, inside) in enumerate(source.work.items()):
        file = place / f"{number}.tar"
        with file.open("xb") as archive:
            try:
                bounds = CopyBounds(left, _COPY_SECONDS)
                driver.copy_out_of_course(course, machine, inside, archive.fileno(), bounds)
            except NotFound:
                continue
        trees[path] = file
        left -= file.stat().st_size
    return trees


def _pack(
    socket: str,
    source: LabMachine,
    student: Student,
    machine: CourseMachine,
    trees: dict[str, Path],
    target: Path,
) -> str:
    """Write the submission; what was left out of it, in words."""
    words = ["pack", "--lab", str(source.lab.path), "--student", student.id, "--machine", machine.name]
    words += [
        "--output",
        str(target.absolute()),
        *(f"{path}={file.absolute()}" for path, file in trees.items()),
    ]
    said = labs.run(socket, words, os.geteuid(), target.parent, collecting.SUBMIT_SECONDS)
    if said.status:
        raise said.failure()
    return labs.harmless(said.error)
