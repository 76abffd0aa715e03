"""``app ps|ls|images|top|port|events|config|validate``: what one sees of an app."""

from __future__ import annotations

import sys

from multios.app_labels import APP_LABEL
from multios.cli import app_project
from multios.cli.listing import ports_text, published_at
from multios.cli.output import pretty, print_rows
from multios.cli.tables import ago, clip, size, table
from multios.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns

_PS: Columns = (
    ("NAME", "Name", lambda row: row["name"]),
    ("IMAGE", "Image", lambda row: row["image"]),
    ("COMMAND", "Command", lambda row: clip(" ".join(row["command"]), 24)),
    ("SERVICE", "Service", app_project.service_of),
    ("CREATED", "Created", lambda row: ago(row["created"])),
    ("STATUS", "Status", lambda row: row["status_text"]),
    ("PORTS", "Ports", lambda row: ports_text(row["ports"])),
)
_LS: Columns = (
    ("NAME", "Name", lambda row: row["name"]),
    ("STATUS", "Status", lambda row: row["status"]),
    ("SERVICES", "Services", lambda row: ", ".join(row["services"])),
)

_IMAGES: Columns = (
    ("CONTAINER", "Container", lambda row: row["container"]),
    ("IMAGE", "Image", lambda row: row["image"]),
    ("IMAGE ID", "ID", lambda row: row["id"].removeprefix("sha256:")[:12]),
    ("CREATED", "Created", lambda row: ago(row["created"]) if row["created"] else ""),
    ("SIZE", "Size", lambda row: "" if row["size"] is None else size(row["size"])),
)


def ps(values: Values, context: Context) -> int:
    """List the app's containers."""
    app = app_project.name(values)
    rows = app_project.rows(context, app, values["services"], all=values["all"])
    if values["names"]:
        names = dict.fromkeys(app_project.service_of(row) for row in rows)
        sys.stdout.write("".join(f"{name}\n" for name in names))
        return 0
    print_rows(rows, _PS, values["format"], "id" if values["quiet"] else "")
    return 0


def ls(values: Values, context: Context) -> int:
    """List apps."""
    rows = [row for row in context.call("apps.list") if values["all"] or row["running"]]
    print_rows(rows, _LS, values["format"], "name" if values["quiet"] else "")
    return 0


def images(values: Values, context: Context) -> int:
    """List the image that each container is made from."""
    containers = app_project.rows(context, app_project.name(values), values["services"])
    there = {image["id"]: image for image in context.call("images.list")}
    rows = []
    for container in containers:
        image = there.get(container["image_id"], {})  # it may have been removed by force
        rows.append(
            {
                "container": container["name"],
                "service": app_project.service_of(container),
                "image": container["image"],
                "id": container["image_id"],
                "created": image.get("created"),
                "size": image.get("size"),
            }
        )
    if values["quiet"]:
        rows = list({row["id"]: row for row in rows}.values())
    print_rows(rows, _IMAGES, values["format"], "id" if values["quiet"] else "")
    return 0


def top(values: Values, context: Context) -> int:
    """Show the processes of each container."""
    for row in app_project.rows(context, app_project.name(values), values["services"], all=False):
        answer = context.call("containers.top", {"ref": row["id"]})
        lines = [[str(cell) for cell in process] for process in answer["processes"]]
        sys.stdout.write(f"{row['name']}\n{table([str(title) for title in answer['titles']], lines)}\n")
    return 0


def port(values: Values, context: Context) -> int:
    """Show where on the host a port of a service is published."""
    row = app_project.one(context, app_project.name(values), values["service"], values["index"])
    wanted, _, protocol = values["port"].partition("/")
    protocol = protocol or values["protocol"] or "tcp"
    for published in row["ports"]:
        if (str(published["container"]), published["protocol"]) == (wanted, protocol):
            sys.stdout.write(f"{published_at(published)}\n")
            return 0
    raise NotFound(
        f"service {values['service']!r} publishes no port {wanted}/{protocol}",
        "name it in the file under ports, and bring the app up again",
    )


def events(values: Values, context: Context) -> int:
    """Watch what happens to the app's containers."""
    from multios.cli.commands import load

    app = app_project.name(values)
    asked = {
        "filter": [f"label={APP_LABEL}={app}"],
        "format": "json" if values["json"] else values["format"],
    }
    command = load("events")
    rest = {option.key: None for option in command.options}
    asked |= {key: values[key] for key in ("since", "until", "no_follow")}
    return command.run({**rest, **asked}, context) or 0


def config(values: Values, context: Context) -> int:
    """Print the files as they are understood: merged, and with their variables."""
    project = app_project.read(values)
    services = project.document.get("services", {})
    if values["quiet"]:
        return _validate(context, project.document)
    if values["services_only"]:
        lines = list(services)
    elif values["images_only"]:
        images = [service["container"].get("image", "") for service in services.values()]
        lines = sorted({image for image in images if image})
    elif values["volumes_only"]:
        lines = list(project.document.get("volumes", {}))
    else:
        shown = _escaped(project.config)
        sys.stdout.write(pretty(shown) if values["format"] == "json" else _yaml(shown))
        return 0
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def validate(values: Values, context: Context) -> int:
    """Say whether the files are right."""
    project = app_project.read(values)
    _validate(context, project.document)
    sys.stdout.write(f"{', '.join(project.files)}: valid\n")
    return 0


def _validate(context: Context, document: dict[str, Any]) -> int:
    context.call("apps.validate", {"app": document})
    return 0


def _escaped(value: Any) -> Any:
    """The same with every dollar doubled, as in a file: what is printed can be read again."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _yaml(value: Any) -> str:
    import yaml  # deferred: it is there, the files were read with it

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text
