"""Further processes in a running container: exec."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multios.drivers.base import Capability
from multios.drivers.isolation import Launched, Stdio
from multios.engine import users
from multios.engine.confinement import Confinement
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.errors import Conflict, InvalidInput
from multios.model.container import Container, ProcessSpec, Status


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """What ``exec`` was asked: empty fields mean the container's own."""

    command: tuple[str, ...]
    terminal: bool = False
    environment: Mapping[str, str] | None = None
    user: str = ""
    working_directory: str = ""
    privileged: bool = False
    exec_id: str = ""
    """Empty: invented."""


def execute(
    containers: Containers,
    drivers: Drivers,
    container: Container,
    request: ExecRequest,
    descriptors: tuple[int, ...],
) -> tuple[str, Launched]:
    """Start a process inside; its exec id, and what was launched. Without terminal, ``descriptors`` are its streams."""
    _check(request)
    if container.status != Status.RUNNING:
        verb = "resume" if container.status == Status.PAUSED else "start"
        raise Conflict(
            f"container {container.name!r} is {container.status}, not running",
            f"`multios-container {verb} {container.name}` lets it run",
        )
    isolation = containers.capable(container, Capability.EXEC)
    spec = json.loads((containers.directory(container) / "config.json").read_text())
    process = _process(spec["process"], container, request, drivers, containers.confinement)
    exec_id = request.exec_id or f"{container.id[:12]}-{secrets.token_hex(8)}"
    stdio = Stdio(terminal=request.terminal, descriptors=() if request.terminal else descriptors)
    return exec_id, isolation.exec(container.id, exec_id, ProcessSpec(process, request.terminal), stdio)


def _check(request: ExecRequest) -> None:
    """Raise ``InvalidInput`` for what no process can be started with."""
    if not request.command:
        raise InvalidInput("no command was given", "say what to run: exec NAME COMMAND")
    for name in request.environment or {}:
        if not name or "=" in name:
            raise InvalidInput(f"environment: {name!r} is no variable's name", "write NAME=VALUE")
    if request.working_directory and not request.working_directory.startswith("/"):
        raise InvalidInput(
            f"working directory {request.working_directory!r} is not absolute", "begin it with '/'"
        )


def _process(
    base: dict[str, Any],
    container: Container,
    request: ExecRequest,
    drivers: Drivers,
    confinement: Confinement,
) -> dict[str, Any]:
    process = {**base, "args": list(request.command), "terminal": request.terminal}
    environment = dict(word.partition("=")[::2] for word in base["env"])
    if request.user:
        mounts = drivers.storage(container).mounts(container.id)
        account = users.resolve(request.user, mounts)
        process["user"] = account.section()
        environment["HOME"] = account.home
    if request.user or request.privileged:
        process = confinement.process(container, process, request.privileged)
    if request.terminal:
        environment.setdefault("TERM", "xterm")
    environment.update(request.environment or {})
    process["env"] = [f"{name}={value}" for name, value in environment.items()]
    process["cwd"] = request.working_directory or base["cwd"]
    return process
