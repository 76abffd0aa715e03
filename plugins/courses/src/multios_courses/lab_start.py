"""``course start --lab``: a lab's machine for every student, by the labs' command and the course's queue."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from multios.api.client import Client
from multios.cli.context import Context
from multios_courses import labs, validation
from multios_courses.collecting import chosen_labs
from multios_courses.course_file import Course, Lab
from multios_courses.roster import Student
from multios_courses.start_command import queued, told
from multios_courses.starting import Job

START_SECONDS = 900.0


def run(
    context: Context,
    path: Path,
    students: Path | None,
    at_once: int | None,
    name: str,
    seed: str | None,
) -> int:
    """Start the lab for everyone whose machine is the teacher's. Who has an account starts it himself: it is his."""
    labs.require("start --lab")
    course, _, roster = validation.load(path, students)
    validation.check_files(course)
    (lab,) = chosen_labs(course, name)
    own = [student for student in roster if not student.user]
    others = len(roster) - len(own)
    if others:
        sys.stderr.write(
            f"{others} students have accounts, and start it themselves: multios-container lab start {lab.path}\n"
        )
    listed = context.client.call("containers.list", {"all": True, "filters": {"label": labs.LAB_LABEL}})
    there = {
        student.id: rows[0]
        for student in own
        if (rows := labs.machine_rows(listed, lab.name, student.id, os.geteuid()))
    }
    running = [student for student in own if there.get(student.id, {}).get("status") in ("running", "paused")]
    with labs.seeded(seed, roster) as seeded:
        jobs = [_job(course, lab, student, there, seeded) for student in own if student not in running]
        outcome = queued(context, jobs, at_once)
    return told(context, course, outcome, len(own), len(running))


def _job(
    course: Course, lab: Lab, student: Student, there: dict[str, dict[str, str]], seeded: labs.Seeded
) -> Job:
    name = labs.machine_name(course.name, lab.name, student.id)

    def make(client: Client) -> str:
        if student.id in there:
            return there[student.id]["id"]
        words = ["start", str(lab.path), "--name", name, "--student", student.id, *seeded.words]
        said = labs.run(client.path, words, os.geteuid(), course.folder, START_SECONDS, seeded.environment)
        if said.status:
            raise said.failure()
        return name

    return Job(name, make)
