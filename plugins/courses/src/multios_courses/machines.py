"""Which machines a course comes to, and which of them the daemon has.

A machine is known by its labels *and* its owner: a user may put any label on containers of his own.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from multios.api.client import Client
from multios.errors import InvalidInput
from multios.model.course import COURSE_LABEL, STUDENT_LABEL
from multios_courses.course_file import Course, Quota, Template
from multios_courses.roster import Student

TEMPLATE_LABEL = "org.multios.course.template"
PART_LABEL = "org.multios.course.part"
MOST_MACHINES = 1000
"""A bridge has 1023 ports."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One that a student is to have. ``owner`` is a Unix user, empty for the teacher."""

    student: Student
    template: Template
    name: str
    owner: str

    @property
    def key(self) -> tuple[str, str]:
        """What its labels say besides the course."""
        return self.student.id, self.template.source


def expected(course: Course, students: Sequence[Student], most: int | None = MOST_MACHINES) -> list[Machine]:
    """Every machine of the course, template by template for each student. Raises ``InvalidInput`` for none or more than ``most``."""
    if not course.templates:
        raise InvalidInput(f"{course.file}: there is no template", "add [[templates]] with a name")
    count = len(students) * len(course.templates)
    if most is not None and count > most:
        raise InvalidInput(f"{course.name}: {count} machines are more than {most}", "split the course")
    behind = suffixes(course.templates)
    return [
        Machine(student, template, f"{course.name}-{student.id}{suffix}", student.user)
        for student in students
        for template, suffix in zip(course.templates, behind, strict=True)
    ]


def suffixes(templates: Sequence[Template]) -> list[str]:
    """What tells one student's machines apart: nothing for a single one."""
    if len(templates) == 1:
        return [""]
    return [f"-{template.name or f'machine{number}'}" for number, template in enumerate(templates, 1)]


def owners(machines: Iterable[Machine], roster: str) -> dict[str, int]:
    """The uid of every Unix user that owns one, the teacher's as the empty name. ``InvalidInput`` for one without account."""
    found = {"": os.geteuid()}
    for machine in machines:
        if machine.owner not in found:
            try:
                found[machine.owner] = pwd.getpwnam(machine.owner).pw_uid
            except KeyError:
                raise InvalidInput(
                    f"{roster}:{machine.student.line}: user: there is no user {machine.owner!r} on this host",
                    "make the account first, or leave the column 'user' empty",
                ) from None
    return found


def document(course: Course, machine: Machine, network: str) -> dict[str, Any]:
    """The container document that makes a machine."""
    template = machine.template
    config: dict[str, Any] = {
        "name": machine.name,
        "hostname": machine.name[:63].strip(".-_").replace("_", "-"),
        "labels": {
            COURSE_LABEL: course.name,
            STUDENT_LABEL: machine.student.id,
            TEMPLATE_LABEL: template.source,
        },
        "networking": {"network": network},
        "resources": resources(course.quota, len(course.templates)),
    }
    if template.name:
        config |= {"template": template.name, "template_options": dict(template.options)}
    else:
        config["image"] = template.image
    if template.command:
        config["command"] = list(template.command)
    elif template.image:
        config |= {"terminal": True, "open_stdin": True, "stop_signal": "SIGHUP"}  # its shell stays up
    return config


def resources(quota: Quota, machines: int) -> dict[str, Any]:
    """A student's quota in equal parts."""
    parts = {
        "memory_limit": quota.memory and quota.memory // machines,
        "cpu_limit": quota.cpus and max(0.01, round(quota.cpus / machines, 3)),
        "disk_limit": quota.disk and quota.disk // machines,
        "pids_limit": quota.processes and max(1, quota.processes // machines),
    }
    return {name: value for name, value in parts.items() if value}


def existing(client: Client, course: str, size: bool = False) -> list[dict[str, Any]]:
    """The daemon's rows of all containers with the course's label."""
    params = {"all": True, "filters": {"label": f"{COURSE_LABEL}={course}"}, "size": size}
    rows: list[dict[str, Any]] = client.call("containers.list", params)
    return rows


def by_key(
    rows: Iterable[dict[str, Any]], uids: dict[str, int], machines: Iterable[Machine]
) -> dict[str, Any]:
    """The row of each machine that there is, by the machine's name. What another user labelled so is not taken for it."""
    found = {
        (row["labels"].get(STUDENT_LABEL), row["labels"].get(TEMPLATE_LABEL), row["owner"]): row
        for row in rows
    }
    return {
        machine.name: row
        for machine in machines
        if (row := found.get((*machine.key, uids[machine.owner]))) is not None
    }
