"""``volume …``."""

from __future__ import annotations

import os
import sys

from multios.cli.grammar import FLAG, LIST, Argument, Command, Option
from multios.cli.networks import labels
from multios.cli.output import FORMAT, print_records, print_rows
from multios.cli.tables import ago

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns

_COLUMNS: Columns = (
    ("NAME", "Name", lambda row: row["name"]),
    ("CREATED", "Created", lambda row: ago(row["created"])),
    ("CONTAINERS", "Containers", lambda row: ", ".join(row["containers"])),
)


def _list(values: Values, context: Context) -> int:
    print_rows(context.call("volumes.list"), _COLUMNS, values["format"], "name" if values["quiet"] else "")
    return 0


def _create(values: Values, context: Context) -> int:
    name = values["name"] or os.urandom(16).hex()
    context.call("volumes.create", {"name": name, "labels": labels(values["labels"])})
    sys.stdout.write(f"{name}\n")
    return 0


def _inspect(values: Values, context: Context) -> int:
    records: list[Any] = []
    status = context.each(
        values["names"], lambda name: records.append(context.call("volumes.inspect", {"name": name}))
    )
    print_records(records, values["format"])
    return status


def _remove(values: Values, context: Context) -> int:
    def remove(name: str) -> None:
        context.call("volumes.remove", {"name": name})
        sys.stdout.write(f"{name}\n")

    return context.each(values["names"], remove)


def _prune(values: Values, context: Context) -> int:
    for removed in context.call("volumes.prune")["removed"]:
        sys.stdout.write(f"{removed}\n")
    return 0


_SEVERAL = Argument("names", "VOLUME", 1, 0, completes="volumes")

COMMANDS = {
    "volume list": Command(
        _list, (Option("--quiet -q", "quiet", FLAG, "Print names only"), FORMAT), (), "", ("volume list",)
    ),
    "volume create": Command(
        _create,
        (Option("--label", "labels", LIST, "A label", "KEY[=VALUE]"),),
        (Argument("name", "[NAME]", 0),),
        "",
        ("volume create homework",),
    ),
    "volume inspect": Command(_inspect, (FORMAT,), (_SEVERAL,), "", ("volume inspect homework",)),
    "volume rm": Command(_remove, (), (_SEVERAL,), "", ("volume rm homework",)),
    "volume prune": Command(
        _prune,
        (Option("--force -f", "force", FLAG, "Accepted for podman's sake; nothing is asked"),),
        (),
        "",
        ("volume prune",),
    ),
}
