"""A course's file and roster as the records that an orchestrator takes, one for each of its templates.

What a cluster has no equal of is said by name, never left out silently.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from multios.cli.context import Context
from multios.errors import InvalidInput, NotFound
from multios.model.course import AT_ONCE, HOME, CourseQuota
from multios.model.course import Course as Record
from multios_courses import course_file, locks, machines
from multios_courses.course_file import Course, Template
from multios_courses.roster import Student

_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_UNKNOWN_DIGEST = "sha256:" + "0" * 64
"""What stands for the digest of an image that has not been pushed yet."""
_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line adds."""

    registry: str = ""
    at_once: int = AT_ONCE
    warm: int = 0


def build(
    context: Context, course: Course, roster: Sequence[Student], wishes: Wishes, push: bool
) -> list[Record]:
    """The records. With ``push`` images are built and pushed where they have no digest; else a digest of zeros stands for theirs."""
    if not course.templates:
        raise InvalidInput(f"{course.file}: there is no template", "add [[templates]] with a name")
    students = tuple(student.id for student in roster)
    parts = [suffix.removeprefix("-") for suffix in machines.suffixes(course.templates)]
    targets = [
        _target(course, template, part, wishes)
        for template, part in zip(course.templates, parts, strict=True)
    ]
    return [
        Record(
            name=course.name,
            students=students,
            image=_image(context, template, target, push),
            command=template.command,
            part=part,
            quota=_quota(course),
            network=course.policy,  # type: ignore[arg-type]  # one of POLICIES, as the file was checked
            warm=wishes.warm,
            at_once=wishes.at_once,
        )
        for template, part, target in zip(course.templates, parts, targets, strict=True)
    ]


def unmapped(course: Course, roster: Sequence[Student]) -> list[str]:
    """What of the course is otherwise on a cluster, a line each."""
    said = ["machines run as the user 1000 and not as root, with the home /home/student"]
    if course.labs:
        names = ", ".join(lab.name for lab in course.labs)
        said.append(
            f"labs have no machines of their own, and are given by --lab: {names}; collect takes work on them from {HOME}"
        )
    if accounts := sum(bool(student.user) for student in roster):
        said.append(f"users of a host own nothing here: machines of {accounts} students with one are yours")
    quota, default = course.quota, CourseQuota()
    if quota.processes:
        said.append("quota.processes is not set: nodes bound processes by their own settings")
    if not quota.memory:
        said.append(f"quota.memory is not in the file: {default.memory >> 20} MiB each")
    if not quota.cpus:
        said.append(f"quota.cpus is not in the file: {default.cpu:g} each")
    if not quota.disk:
        said.append("quota.disk is not in the file: what students make goes when a machine stops")
    if course.begins or course.ends:
        said.append("dates begin and end nothing by themselves, here as on a host")
    return said


def _quota(course: Course) -> CourseQuota:
    """Of one machine: a student's quota in equal parts."""
    each, default = machines.resources(course.quota, len(course.templates)), CourseQuota()
    return CourseQuota(
        cpu=each.get("cpu_limit", default.cpu),
        memory=each.get("memory_limit", default.memory),
        storage=each.get("disk_limit", 0),
    )


def _target(course: Course, template: Template, part: str, wishes: Wishes) -> str:
    """Where the template's image is pushed: repository and tag; empty for one that has its digest already."""
    if _DIGEST.fullmatch(template.image):
        return ""
    if not wishes.registry:
        number = course.templates.index(template)
        key = "name" if template.name else "image"
        line = course_file.line(course.file.read_text("utf-8"), ("templates", number, key))
        raise InvalidInput(
            f"{course.file}:{line}: templates.{key}: {template.source!r} has no digest by which nodes can pull it",
            'give --registry HOST/PATH to push it to, or write image = "NAME@sha256:…"',
        )
    if "://" in wishes.registry or "@" in wishes.registry:
        raise InvalidInput(
            f"--registry: {wishes.registry!r} is no registry", "write HOST/PATH, without https://"
        )
    repository = f"{course.name}-{part}".rstrip("-").lower()
    return f"{wishes.registry.rstrip('/')}/{repository}:{_NOT_IN_A_TAG.sub('-', course.version)}"


def _image(context: Context, template: Template, target: str, push: bool) -> str:
    """By digest: what the file says, or what the registry has after the push."""
    if not target:
        return template.image
    repository = target.rpartition(":")[0]
    if not push:
        return f"{repository}@{_UNKNOWN_DIGEST}"
    from multios.cli.registry import transfer  # deferred: it reads logins

    if template.name:
        source = locks.build(context, template)["image"]
    else:
        source = template.image
        try:
            context.call("images.inspect", {"ref": source})
        except NotFound:
            transfer(context, "images.pull", {"ref": source}, source, quiet=False)
    answer = transfer(context, "images.push", {"ref": source, "destination": target}, target, quiet=False)
    return f"{repository}@{answer['digest']}"


def is_unknown(record: Record) -> bool:
    """Whether its image has yet to be pushed."""
    return record.image.endswith(_UNKNOWN_DIGEST)
