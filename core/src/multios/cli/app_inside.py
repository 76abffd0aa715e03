"""``app exec|run|cp|collect``: into the containers of a service."""

from __future__ import annotations

import os
import sys

from multios.app_labels import APP_LABEL, ONCE_LABEL, SERVICE_LABEL
from multios.cli import app_project
from multios.cli.commands import load
from multios.errors import InvalidInput, unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.compose.project import Project


def execute(values: Values, context: Context) -> int:
    """Run a command in a container of a service."""
    row = app_project.one(context, app_project.name(values), values["service"], values["index"])
    streams = {"tty": False, "interactive": True} if values["no_tty"] else {}
    return load("exec").run({**values, **streams, "ref": row["id"]}, context) or 0


def run(values: Values, context: Context) -> int:
    """Run a command in a container of its own, made as the service's are; what it depends on is brought up first."""
    from multios.cli.app_changes import bring_up, make_networks
    from multios.cli.app_images import get_images
    from multios.cli.creation import run as create_and_run

    service = values["service"]
    project = app_project.read(values, (service,))
    documents = project.document.get("services", {})
    if service not in documents:
        raise unknown("service", service, list(documents), f"there are: {', '.join(documents)}")
    _add_mounts(values, project, documents[service]["container"])
    once = _once(values, project, documents[service])
    get_images(values, context, project, (service,))
    needed = [] if values["no_deps"] else list(documents[service].get("depends_on", {}))
    if needed:
        bring_up(values, context, project, {"services": needed})
    make_networks(values, context, project, service)
    return create_and_run(once, values["detach"], context)


def _add_mounts(values: Values, project: Project, container: dict[str, Any]) -> None:
    """``--volume``: what is mounted at the same place gives way; a volume of the file is meant by its name there."""
    from multios.cli.container_config import volume

    known = project.document.get("volumes", {})
    for text in values["volumes"]:
        mount = volume(text)
        if mount.get("volume") in known:
            mount["volume"] = known[mount["volume"]]["name"]
        for section in ("volumes", "tmpfs"):
            there = container.get(section, [])
            container[section] = [item for item in there if item["container"] != mount["container"]]
        container["volumes"].append(mount)


def _once(values: Values, project: Project, service: dict[str, Any]) -> dict[str, Any]:
    """The container document of a service for one run: without its ports, unless asked for, and without its name."""
    from multios.cli.container_config import environment_of, ports

    app, document = project.name, dict(service["container"])
    document.pop("restart_policy", None)
    if service.get("files"):
        contents = project.document.get("files", {})
        document["files"] = [_file(use, contents[use["source"]]) for use in service["files"]]
    if values["command"]:
        document["command"] = values["command"]
    if values["entrypoint"] is not None:
        document["entrypoint"] = values["entrypoint"].split()
    for key in ("user", "working_directory"):
        if values[key]:
            document[key] = values[key]
    document["environment"] = {**document.get("environment", {}), **environment_of(values)}
    if not values["service_ports"] and "networking" in document:
        document["networking"] = {
            key: value for key, value in document["networking"].items() if key != "ports"
        }
    if published := [mapping for text in values["ports"] for mapping in ports(text)]:
        networking = document.get("networking", {})
        document["networking"] = {**networking, "ports": [*networking.get("ports", []), *published]}
    terminal = not values["no_tty"] and not values["detach"] and os.isatty(0) and os.isatty(1)
    document |= {
        "name": values["name"] or f"{app}-{values['service']}-run-{os.urandom(4).hex()}",
        "labels": {
            **document.get("labels", {}),
            APP_LABEL: app,
            SERVICE_LABEL: values["service"],
            ONCE_LABEL: "true",
        },
        "auto_remove": values["rm"],
        "terminal": terminal,
        "open_stdin": not values["detach"],
    }
    return document


def _file(use: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """A config or secret as the container document has it."""
    return {"path": use["target"], **file, **{key: use[key] for key in ("mode", "uid", "gid") if key in use}}


def copy(values: Values, context: Context) -> int:
    """Copy files between a service's container and this host."""
    app = app_project.name(values)
    sides = {key: _side(context, app, values[key], values["index"]) for key in ("source", "target")}
    return load("cp").run({**values, **sides}, context) or 0


def _side(context: Context, app: str, text: str, index: int | None) -> str:
    """``SERVICE:PATH`` with the container's id in the service's place."""
    service, separator, path = text.partition(":")
    if not separator or "/" in service or service.startswith(".") or not service:
        return text
    found = [row for row in app_project.rows(context, app, (service,)) if ONCE_LABEL not in row["labels"]]
    if index is not None:
        found = [row for row in found if app_project.number_of(row) == index]
    if not found:
        raise InvalidInput(f"service {service!r} has no container {index}", "leave out --index")
    return f"{found[0]['id']}:{path}"


def collect(values: Values, context: Context) -> int:
    """Copy a path of every container into a directory, each below the container's name."""
    rows = {
        row["name"]: row["id"]
        for row in app_project.rows(context, app_project.name(values), values["services"])
        if ONCE_LABEL not in row["labels"]
    }

    def one(name: str) -> None:
        source = f"{rows[name]}:{values['path']}"
        load("cp").run({"source": source, "target": place_for(values["to"] or ".", name)}, context)
        sys.stdout.write(f"{name}\n")

    return context.each(list(rows), one)


def place_for(directory: str, name: str) -> str:
    """The directory for what is collected of a container, made if it is not there."""
    path = os.path.join(directory, name)
    os.makedirs(path, exist_ok=True)
    return path + "/"
