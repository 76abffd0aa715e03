"""``course validate``, and what all commands do first: the course and its roster, read and checked together."""

from __future__ import annotations

import sys
from pathlib import Path

import tomli

from multios.errors import InvalidInput
from multios_courses import course_file, machines, roster
from multios_courses.course_file import Course
from multios_courses.roster import Student


def load(
    path: Path, students: Path | None, most: int = roster.MOST_STUDENTS
) -> tuple[Course, Path, tuple[Student, ...]]:
    """The course, the file of its roster and the students in it, ``most`` of them. Raises ``InvalidInput``."""
    course = course_file.load(path)
    file = students or course.roster
    if file is None:
        raise InvalidInput(f"{course.file}: there is no roster", "name one: --students FILE.csv")
    return course, file, roster.load(file, most)


def run(path: Path, students: Path | None, elsewhere: bool = False) -> int:
    """Check everything that can be checked without a daemon, and say what the course comes to.

    ``elsewhere`` is on a cluster: with more students, and without users of this host.
    """
    course = course_file.load(path)
    check_files(course)
    said = [f"{counted(len(course.templates), 'machine')} a student"]
    file = students or (course.roster if course.roster and course.roster.exists() else None)
    if file:
        found = roster.load(file, roster.MOST_ON_A_CLUSTER if elsewhere else roster.MOST_STUDENTS)
        wanted = machines.expected(course, found, None if elsewhere else machines.MOST_MACHINES)
        if not elsewhere:
            machines.owners(wanted, str(file))
        said += [counted(len(found), "student"), counted(len(wanted), "machine")]
    elif course.roster:
        said.append(f"no roster at {course.roster}")
    said.append(f"network {course.policy}")
    sys.stdout.write(f"{course.file}: {course.name} {course.version} is valid: {', '.join(said)}\n")
    return 0


def counted(number: int, what: str) -> str:
    """``1 machine``, ``2 machines``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def check_files(course: Course) -> None:
    """Raise ``InvalidInput`` for a lab that is not there or no TOML, and for a lock that is not there."""
    text = course.file.read_text("utf-8")
    for number, lab in enumerate(course.labs):
        if not (lab.path / "lab.toml").is_file():
            where = f"{course.file}:{course_file.line(text, ('labs', number, 'path'))}: labs.path"
            raise InvalidInput(f"{where}: {lab.path} has no lab.toml", "name the lab's folder")
        try:
            tomli.loads((lab.path / "lab.toml").read_text("utf-8"))
        except (tomli.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise course_file.no_toml(lab.path / "lab.toml", error) from None
    for number, template in enumerate(course.templates):
        if template.lock and not template.lock.is_file():
            where = f"{course.file}:{course_file.line(text, ('templates', number, 'lock'))}: templates.lock"
            raise InvalidInput(f"{where}: there is no file {template.lock}", "make the lock, or leave it out")
