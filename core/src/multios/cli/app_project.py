"""Which app a command is about: the Compose files as they are read, and the containers that there are."""

from __future__ import annotations

import sys

from multios.app_labels import APP_LABEL, NUMBER_LABEL, ONCE_LABEL, SERVICE_LABEL
from multios.errors import InvalidInput, MultiosError, NotFound, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.compose.project import Project


def read(values: Values, services: Sequence[str] = (), quiet: bool = False) -> Project:
    """The app that the Compose files describe; their warnings go to stderr."""
    from multios.compose.project import Request  # deferred: a command of another kind reads none
    from multios.compose.project import read as read_files

    project = read_files(
        Request(
            files=values["files"],
            project_directory=values["project_directory"] or "",
            project_name=values["project_name"] or "",
            profiles=values["profiles"],
            env_files=values["env_files"],
            targets=services,
        )
    )
    for warning in () if quiet else project.warnings:
        sys.stderr.write(f"Warning: {warning}\n")
    return project


def name(values: Values) -> str:
    """The app's name alone: what was typed, else what the files say."""
    return values["project_name"] or read(values, quiet=True).name


def rows(context: Context, app: str, services: Sequence[str] = (), all: bool = True) -> list[dict[str, Any]]:
    """The caller's containers of an app, by service and number; ``services`` must have some."""
    filters = {"label": f"{APP_LABEL}={app}", "owner": "me"}
    found = context.call("containers.list", {"all": True, "filters": filters})
    found.sort(key=lambda row: (service_of(row), number_of(row), row["name"]))
    there = sorted({service_of(row) for row in found})
    for service in services:
        if service not in there:
            guess = nearest(service, there)
            raise NotFound(
                f"app {app!r} has no container of a service {service!r}",
                f"did you mean {guess!r}?" if guess else f"see `multios-container app -p {app} ps --all`",
            )
    return [
        row
        for row in found
        if (not services or service_of(row) in services) and (all or row["status"] in ("running", "paused"))
    ]


def service_of(row: dict[str, Any]) -> str:
    """The service that a container is of."""
    return str(row["labels"].get(SERVICE_LABEL, ""))


def number_of(row: dict[str, Any]) -> int:
    """Which of its service's containers it is, 0 for one of ``app run``."""
    text = row["labels"].get(NUMBER_LABEL, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def one(context: Context, app: str, service: str, index: int | None) -> dict[str, Any]:
    """A container of a service: the ``index``-th, or the first that runs."""
    found = [row for row in rows(context, app, (service,)) if ONCE_LABEL not in row["labels"]]
    running = [row for row in found if row["status"] in ("running", "paused")]
    if index is not None:
        found = running = [row for row in found if number_of(row) == index]
    if not found:
        raise NotFound(
            f"service {service!r} has no container {index or ''}".rstrip(),
            f"see `multios-container app -p {app} ps --all`",
        )
    if not running:
        raise MultiosError(
            f"service {service!r} does not run", f"start it: multios-container app -p {app} up -d {service}"
        )
    return running[0]


def scale(values: Values) -> dict[str, int]:
    """``--scale SERVICE=N`` as numbers."""
    wanted = {}
    for service, text in values["scale"].items():
        if not (text.isascii() and text.isdecimal() and len(text) <= 6):
            raise InvalidInput(
                f"--scale {service}={text}: that is no number of containers", "write SERVICE=3"
            )
        wanted[service] = int(text)
    return wanted
