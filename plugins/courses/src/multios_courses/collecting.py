"""``course collect``: every student's work, one file each, and who is missing."""

from __future__ import annotations

import os
import pwd
import stat
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from multios.cli.context import Context
from multios.cli.output import print_rows
from multios.cli.tables import clip
from multios.errors import InvalidInput, MultiosError, NotFound
from multios_courses import labs, machines, validation
from multios_courses.course_file import Course, Lab
from multios_courses.roster import Student

SUFFIX = ".submission"
FOLDER = "submissions"
SUBMIT_SECONDS = 300.0
LARGEST_SUBMISSION = 512 << 20
COLLECTED, MISSING, FAILED = "collected", "missing", "failed"
_COLUMNS = (
    ("STUDENT", "Student", lambda row: row["student"]),
    ("NAME", "Name", lambda row: row["name"]),
    ("LAB", "Lab", lambda row: row["lab"]),
    ("STATE", "State", lambda row: row["state"]),
    ("FILE", "File", lambda row: row["file"] or clip(row["problem"], 60)),
)


def file_of(folder: Path, lab: str, student: str) -> Path:
    """Where a student's work on a lab is put."""
    return folder / lab / f"{student}{SUFFIX}"


def chosen_labs(course: Course, name: str | None) -> tuple[Lab, ...]:
    """The course's labs, or the one called ``name``. Raises ``InvalidInput`` when there is none."""
    found = tuple(lab for lab in course.labs if name in (None, lab.name))
    if not found:
        listed = ", ".join(lab.name for lab in course.labs) or "none"
        raise InvalidInput(f"{course.file}: there is no lab {name or ''}".rstrip(), f"its labs: {listed}")
    return found


def run(
    context: Context,
    path: Path,
    students: Path | None,
    output: Path | None,
    lab: str | None,
    form: str | None,
) -> int:
    """Collect, and say who is missing; 1 when something that is there could not be had."""
    labs.require("collect")
    course, file, roster = validation.load(path, students)
    wanted = chosen_labs(course, lab)
    uids = (
        machines.owners(machines.expected(course, roster), str(file)) if course.templates else _uids(roster)
    )
    folder = output or course.folder / FOLDER
    listed = context.client.call("containers.list", {"all": True, "filters": {"label": labs.LAB_LABEL}})
    for one in wanted:
        (folder / one.name).mkdir(mode=0o700, parents=True, exist_ok=True)
    pairs = [(one, student) for one in wanted for student in roster]

    def collect(pair: tuple[Lab, Student]) -> dict[str, Any]:
        one, student = pair
        return _collected(context.client.path, listed, one, student, uids[student.user], folder)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        rows = list(pool.map(collect, pairs))
    return told(rows, folder, form)


def told(rows: list[dict[str, Any]], folder: Path, form: str | None) -> int:
    """Show the rows, and say who is missing; 1 when something that is there could not be had."""
    print_rows(rows, _COLUMNS, form)
    sys.stdout.flush()  # before what is said of them, where both go one way
    missing = [row for row in rows if row["state"] == MISSING]
    failed = [row for row in rows if row["state"] == FAILED]
    sys.stderr.write(
        f"{len(rows) - len(missing) - len(failed)} of {len(rows)} collected in {folder}"
        + (f"; missing: {', '.join(row['student'] for row in missing)}" if missing else "")
        + (f"; failed: {', '.join(row['student'] for row in failed)}" if failed else "")
        + "\n"
    )
    return 1 if failed else 0


def _uids(roster: Sequence[Student]) -> dict[str, int]:
    found = {"": os.geteuid()}
    for student in roster:
        try:
            found.setdefault(
                student.user, os.geteuid() if not student.user else pwd.getpwnam(student.user).pw_uid
            )
        except KeyError:
            raise NotFound(f"{student.id}: there is no user {student.user!r} on this host", "") from None
    return found


def _collected(
    socket: str, listed: Sequence[dict[str, Any]], lab: Lab, student: Student, uid: int, folder: Path
) -> dict[str, Any]:
    row = {
        "student": student.id,
        "name": student.name,
        "lab": lab.name,
        "state": MISSING,
        "file": "",
        "problem": "no machine of this lab",
    }
    found = labs.machine_rows(listed, lab.name, student.id, uid)
    if not found:
        return row
    target = file_of(folder, lab.name, student.id)
    try:
        _submit(socket, found[0]["id"], uid, target)
    except (MultiosError, OSError) as error:
        return row | {"state": FAILED, "problem": getattr(error, "cause", str(error))}
    return row | {"state": COLLECTED, "file": str(target), "problem": ""}


def _submit(socket: str, machine: str, uid: int, target: Path) -> None:
    """Ask for the submission as its owner, in a place of the owner's, and copy it."""
    with tempfile.TemporaryDirectory(prefix="course-collect-") as place:
        work = Path(place)
        work.chmod(0o711)
        own = work / "own"
        own.mkdir(mode=0o700)
        if uid != os.geteuid():
            os.chown(own, uid, pwd.getpwuid(uid).pw_gid)
        name = f"work{SUFFIX}"
        words = ["submit", "--name", machine, "--output", str(own / name)]
        said = labs.run(socket, words, uid, own, SUBMIT_SECONDS)
        if said.status:
            raise said.failure()
        _copy(own, name, target)


def _copy(place: Path, name: str, target: Path) -> None:
    """Copy a file that its owner may exchange at any moment: a plain one only, not through a link, with a bound."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        source = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder
        )
    finally:
        os.close(folder)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with os.fdopen(source, "rb") as read:
            if not stat.S_ISREG(os.fstat(source).st_mode):
                raise MultiosError("what was submitted is no plain file")
            descriptor = os.open(
                partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            with os.fdopen(descriptor, "wb") as out:
                left = LARGEST_SUBMISSION
                while chunk := read.read(1 << 20):
                    left -= len(chunk)
                    if left < 0:
                        raise MultiosError(f"it is larger than {LARGEST_SUBMISSION >> 20} MB")
                    out.write(chunk)
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
