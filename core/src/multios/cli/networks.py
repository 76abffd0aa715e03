"""``network …``."""

from __future__ import annotations

import sys

from multios.cli.filters import FILTER, filters
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
    ("SUBNET", "Subnet", lambda row: ", ".join(filter(None, (row["subnet"], row["subnet6"])))),
    ("INTERFACE", "Interface", lambda row: row["interface"] or ""),
    ("CONTAINERS", "Containers", lambda row: str(row["containers"])),
)
_PICTURES = ("tree", "dot", "mermaid")


def _list(values: Values, context: Context) -> int:
    params = {"filters": filters(values["filter"])} if values["filter"] else {}
    rows = context.call("networks.list", params)
    print_rows(rows, _COLUMNS, values["format"], "name" if values["quiet"] else "")
    return 0


def _inspect(values: Values, context: Context) -> int:
    records: list[Any] = []
    status = 0
    if values["names"]:
        status = context.each(
            values["names"], lambda name: records.append(context.call("networks.inspect", {"name": name}))
        )
    else:
        records = context.call("networks.list")
    if values["format"] in _PICTURES:
        from multios.cli import network_pictures

        sys.stdout.write(getattr(network_pictures, values["format"])(records))
    else:
        print_records(records, values["format"])
    return status


def _create(values: Values, context: Context) -> int:
    params: dict[str, Any] = {
        "name": values["name"],
        "labels": labels(values["labels"]),
        "options": values["options"],
    }
    fields = (
        "driver",
        "subnets",
        "gateways",
        "ip_range",
        "ipv6",
        "internal",
        "isolate",
        "shared",
        "egress_allow",
    )
    params.update({key: values[key] for key in fields if values[key]})
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


def _prune(values: Values, context: Context) -> int:
    params = {"filters": filters(values["filter"])} if values["filter"] else {}
    for name in context.call("networks.prune", params)["removed"]:
        sys.stdout.write(f"{name}\n")
    return 0


def _connect(values: Values, context: Context) -> int:
    wanted = {"address": values["ip"], "address6": values["ip6"], "mac": values["mac"]}
    attachment = {key: value for key, value in wanted.items() if value}
    if values["aliases"]:
        attachment["aliases"] = values["aliases"]
    params = {"network": values["network"], "ref": values["ref"], "attachment": attachment}
    context.call("networks.connect", params)
    return 0


def _disconnect(values: Values, context: Context) -> int:
    context.call("networks.disconnect", {"network": values["network"], "ref": values["ref"]})
    return 0


def _repair(values: Values, context: Context) -> int:
    done = context.call("networks.repair")
    for item in done["failed"]:
        what = f"network {item['network']}" if "network" in item else f"container {item['container']}"
        sys.stderr.write(f"Error: {what}: {item['cause']}\n{item['remedy']}\n")
    sys.stdout.write(
        f"{done['networks']} networks and {done['containers']} running containers are as they should be\n"
    )
    return 1 if done["failed"] else 0


_SEVERAL = Argument("names", "NETWORK", 1, 0, completes="networks")
_NETWORK = Argument("network", "NETWORK", completes="networks")
_CONTAINER = Argument("ref", "CONTAINER", completes="containers")
_FORCE = Option("--force -f", "force", FLAG, "Accepted for podman's sake; nothing is asked")

COMMANDS = {
    "network list": Command(
        _list,
        (Option("--quiet -q", "quiet", FLAG, "Print names only"), FILTER, FORMAT),
        (),
        "",
        ("network list", "network list --filter driver=bridge"),
    ),
    "network inspect": Command(
        _inspect,
        (
            Option(
                "--format -f",
                "format",
                TEXT,
                "json, tree, dot, mermaid, or a template such as '{{.subnet}}'",
                "FORMAT",
            ),
        ),
        (Argument("names", "[NETWORK…]", 0, 0, completes="networks"),),
        "Without names, all networks are shown.",
        ("network inspect my-network", "network inspect --format tree"),
    ),
    "network create": Command(
        _create,
        (
            Option("--driver -d", "driver", TEXT, "The network driver", "DRIVER"),
            Option(
                "--subnet",
                "subnets",
                LIST,
                "Its addresses, IPv4 or IPv6; without, a free range is chosen",
                "CIDR",
            ),
            Option("--gateway", "gateways", LIST, "The host's address on it, IPv4 or IPv6", "ADDRESS"),
            Option("--ip-range", "ip_range", TEXT, "Choose containers' addresses from this part", "CIDR"),
            Option("--ipv6", "ipv6", FLAG, "IPv6 too; without --subnet for it, a private range is chosen"),
            Option("--internal", "internal", FLAG, "No way to the outside"),
            Option("--isolate", "isolate", FLAG, "Containers reach the host and the outside, not each other"),
            Option("--shared", "shared", FLAG, "Everyone may use it, not its owner alone"),
            Option(
                "--egress-allow",
                "egress_allow",
                LIST,
                "Let containers reach nothing outside but this; can be repeated",
                "ADDRESS|CIDR|DOMAIN",
            ),
            Option("--opt --network-opt -o", "options", PAIRS, "An option of the driver", "KEY=VALUE"),
            Option("--label", "labels", LIST, "A label", "KEY[=VALUE]"),
        ),
        (Argument("name", "NAME"),),
        "",
        (
            "network create my-network --subnet 172.20.0.0/16",
            "network create exam --shared --isolate --egress-allow submit.example.org",
        ),
    ),
    "network rm": Command(_remove, (), (_SEVERAL,), "", ("network rm my-network",)),
    "network prune": Command(
        _prune,
        (_FORCE, Option("--filter", "filter", LIST, "Only those that pass", "KEY=VALUE")),
        (),
        "",
        ("network prune",),
    ),
    "network connect": Command(
        _connect,
        (
            Option("--ip", "ip", TEXT, "Its address there", "ADDRESS"),
            Option("--ip6", "ip6", TEXT, "Its IPv6 address there", "ADDRESS"),
            Option("--mac-address", "mac", TEXT, "Its MAC there", "MAC"),
            Option("--alias", "aliases", LIST, "Another name there", "NAME"),
        ),
        (_NETWORK, _CONTAINER),
        "",
        ("network connect my-network my-python",),
    ),
    "network disconnect": Command(
        _disconnect, (_FORCE,), (_NETWORK, _CONTAINER), "", ("network disconnect my-network my-python",)
    ),
    "network repair": Command(_repair, (), (), "", ("network repair",)),
}
