"""The course's network: what its machines reach, by the policy of ``course.toml``.

``isolated`` is one network whose members do not reach each other, and not one for each student: a bridge takes four times as
long as a machine, and keeps nothing from anyone that the isolation of its ports does not.
"""

from __future__ import annotations

import ipaddress
import os
from typing import Any

from multios.api.client import Client
from multios.errors import Conflict
from multios.model.course import COURSE_LABEL
from multios_courses.course_file import Course


def name_of(course: Course) -> str:
    """What machines of the course name as their network."""
    return "none" if course.policy == "none" else f"course-{course.name}"


def ensure(client: Client, course: Course, machines: int, shared: bool) -> str:
    """Make the course's network unless it is there; its name. ``shared``: users other than the teacher own machines on it."""
    name = name_of(course)
    if name == "none":
        return name
    wanted = {
        "internal": course.policy != "open",
        "isolate": course.policy == "isolated",
        "shared": shared,
    }
    labels = {COURSE_LABEL: course.name}
    if (network := _own(client, course.name, name)) is None:
        client.call("networks.create", {"name": name, "labels": labels, **wanted})
        network = _own(client, course.name, name)
    if network is None:
        raise Conflict(f"network {name!r} has just been removed", "start the course again")
    for key, value in wanted.items():
        if network[key] != value:
            raise Conflict(
                f"network {name!r} was made for another policy ({key} is {str(network[key]).lower()})",
                f"`multios-container course wipe {course.file}`, then start again",
            )
    room = ipaddress.ip_network(network["subnet"]).num_addresses - 3
    if room < machines:
        raise Conflict(
            f"network {name!r} has room for {room} machines, the course needs {machines}",
            "remove networks that nobody uses: `multios-container network prune`, then wipe and start again",
        )
    return name


def _own(client: Client, course: str, name: str) -> dict[str, Any] | None:
    """The teacher's own: any user may call a network so, and label it."""
    rows = existing(client, course)
    return next((row for row in rows if row["name"] == name and row["owner"] == os.geteuid()), None)


def existing(client: Client, course: str) -> list[dict[str, Any]]:
    """The networks with the course's label."""
    rows: list[dict[str, Any]] = client.call(
        "networks.list", {"filters": {"label": f"{COURSE_LABEL}={course}"}}
    )
    return rows
