"""``network …``."""

from __future__ import annotations

import sys

from multios.cli.grammar import FLAG, LIST, PAIRS, TEXT, Argument, Command, Option
from multios.cli.output import FORMAT, print_records, print_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns

_COLUMNS: Columns = (
    ("NETWORK ID", "ID", lambda row: row["id"][:12]),
    ("NAME", "Name", lambda row: row["name"]),
    ("DRIVER", "Driver", lambda row: row["driver"]),
    ("SUBNET", "Subnet", lambda row: row["subnet"] or ""),
    ("INTERFACE", "Interface", lambda row: row["interface"] or ""),
    ("CONTAINERS", "Containers", lambda row: str(row["containers"])),
)


def _list(values: Values, context: Context) -> int:
    print_rows(context.call("networks.list"), _COLUMNS, values["format"], "name" if values["quiet"] else "")
    return 0


def _inspect(values: Values, context: Context) -> int:
    records: list[Any] = []
    status = context.each(
        values["names"], lambda name: records.append(context.call("networks.inspect", {"name": name}))
    )
    print_records(records, values["format"])
    return status


def _create(values: Values, context: Context) -> int:
    params: dict[str, Any] = {
        "name": values["name"],
        "labels": labels(values["labels"]),
        "options": values["options"],
    }
    params.update({key: values[key] for key in ("driver", "subnet", "gateway", "internal") if values[key]})
    context.call("networks.create", params)
    sys.stdout.write(f"{values['name']}\n")
    return 0


def labels(texts: list[str]) -> dict[str, str]:
    """``KEY[=VALUE]`` as a mapping."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _remove(values: Values, context: Context) -> int:
    def remove(name: str) -> None:
        context.call("networks.remove", {"name": name})
        sys.stdout.write(f"{name}\n")

    return context.each(values["names"], remove)


_SEVERAL = Argument("names", "NETWORK", 1, 0, completes="networks")

COMMANDS = {
    "network list": Command(
        _list, (Option("--quiet -q", "quiet", FLAG, "Print names only"), FORMAT), (), "", ("network list",)
    ),
    "network inspect": Command(_inspect, (FORMAT,), (_SEVERAL,), "", ("network inspect my-network",)),
    "network create": Command(
        _create,
        (
            Option("--driver -d", "driver", TEXT, "The network driver", "DRIVER"),
            Option("--subnet", "subnet", TEXT, "Its addresses; without, a free range is chosen", "CIDR"),
            Option("--gateway", "gateway", TEXT, "The host's address on it", "ADDRESS"),
            Option("--internal", "internal", FLAG, "No way to the outside"),
            Option("--opt --network-opt -o", "options", PAIRS, "An option of the driver", "KEY=VALUE"),
            Option("--label", "labels", LIST, "A label", "KEY[=VALUE]"),
        ),
        (Argument("name", "NAME"),),
        "",
        ("network create my-network --subnet 172.20.0.0/16",),
    ),
    "network rm": Command(_remove, (), (_SEVERAL,), "", ("network rm my-network",)),
}
