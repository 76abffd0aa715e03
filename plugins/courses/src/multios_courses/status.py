"""``course status`` and ``course list``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multios.cli.context import Context
from multios.cli.output import print_rows
from multios.cli.tables import clip, memory, size, span
from multios.model.course import COURSE_LABEL, STUDENT_LABEL
from multios_courses import labs, machines, validation
from multios_courses.course_file import Template
from multios_courses.machines import TEMPLATE_LABEL, Machine
from multios_courses.roster import Student

MISSING = "missing"


def _since(row: dict[str, Any]) -> str:
    return span(time.time() - row["since"]) if row["since"] else ""


_STATUS = (
    ("STUDENT", "Student", lambda row: row["student"]),
    ("NAME", "Name", lambda row: row["name"]),
    ("MACHINE", "Machine", lambda row: row["machine"]),
    ("STATE", "State", lambda row: row["state"]),
    ("SINCE", "Since", _since),
    ("MEMORY", "Memory", lambda row: memory(row["memory"]) if row["state"] == "running" else ""),
    ("DISK", "Disk", lambda row: size(row["disk"]) if row["state"] != MISSING else ""),
)
_LABS = ("LABS", "Labs", lambda row: ", ".join(f"{name} {done}" for name, done in row["labs"].items()))
_COURSES = (
    ("COURSE", "Course", lambda row: row["course"]),
    ("STUDENTS", "Students", lambda row: str(row["students"])),
    ("MACHINES", "Machines", lambda row: str(row["machines"])),
    ("RUNNING", "Running", lambda row: str(row["running"])),
    ("SINCE", "Since", _since),
)


def run(context: Context, path: Path, students: Path | None, form: str | None) -> int:
    """A row a machine, in the order of the roster, also of those not there yet; then those of nobody in it."""
    course, file, roster = validation.load(path, students)
    wanted = machines.expected(course, roster)
    uids = machines.owners(wanted, str(file))
    found = machines.existing(context.client, course.name, size=True)
    there = machines.by_key(found, uids, wanted)
    strangers = _strangers(sorted(found, key=lambda row: str(row["name"])), there)
    used = _memory(context, [row["id"] for row in found if row["status"] == "running"])
    done = labs.progress(context.client.path) if course.labs else {}
    rows = []
    for machine in wanted:
        own = {lab.name: done[key] for lab in course.labs if (key := (lab.name, machine.student.id)) in done}
        rows.append({**_row(machine, there.get(machine.name), used), "labs": own})
    rows += [{**_row(machine, row, used), "labs": {}} for machine, row in strangers]
    print_rows(rows, (*_STATUS, _LABS) if course.labs else _STATUS, form)
    if strangers:
        names = ", ".join(machine.name for machine, _ in strangers)
        sys.stderr.write(f"not in the roster {file}, or of another template: {clip(names, 200)}\n")
    return 0


def _strangers(
    rows: Sequence[dict[str, Any]], there: Mapping[str, dict[str, Any]]
) -> list[tuple[Machine, dict[str, Any]]]:
    """The teacher's machines with the course's labels that roster and file know nothing of."""
    known = {row["id"] for row in there.values()}
    return [
        (
            Machine(
                Student(labels.get(STUDENT_LABEL, "")), Template(labels[TEMPLATE_LABEL]), row["name"], ""
            ),
            row,
        )
        for row in rows
        if TEMPLATE_LABEL in (labels := row["labels"])
        and row["id"] not in known
        and row["owner"] == os.geteuid()
    ]


def _memory(context: Context, ids: Sequence[str]) -> dict[str, int | None]:
    if not ids:
        return {}
    found: dict[str, int | None] = {}
    for rows in context.client.stream("containers.stats", {"refs": []}):
        found |= {row["id"]: row["memory_bytes"] for row in rows if row["id"] in ids}
    return found


def _row(machine: Machine, found: dict[str, Any] | None, used: dict[str, int | None]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "student": machine.student.id,
        "name": machine.student.name,
        "group": machine.student.group,
        "user": machine.owner,
        "machine": machine.name,
        "template": machine.template.source,
        "state": MISSING,
        "since": None,
        "memory": None,
        "disk": None,
        "id": None,
    }
    if found is None:
        return row
    since = {"running": "started", "paused": "started", "exited": "finished"}.get(found["status"], "created")
    return row | {
        "id": found["id"],
        "machine": found["name"],
        "state": found["status"],
        "since": found[since] or None,
        "memory": used.get(found["id"]),
        "disk": found.get("size"),
    }


def list_courses(context: Context, form: str | None) -> int:
    """A row for each course that has machines, as their labels say."""
    rows = context.client.call("containers.list", {"all": True, "filters": {"label": COURSE_LABEL}})
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["labels"][COURSE_LABEL], []).append(row)
    print_rows(
        [
            {
                "course": name,
                "students": len({row["labels"].get(STUDENT_LABEL) for row in own}),
                "machines": len(own),
                "running": sum(row["status"] == "running" for row in own),
                "since": min(row["created"] for row in own),
            }
            for name, own in sorted(found.items())
        ],
        _COURSES,
        form,
    )
    return 0
