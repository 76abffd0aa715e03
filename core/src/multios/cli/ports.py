"""``port`` and ``port-forward``."""

from __future__ import annotations

import sys

from multios.cli.container_config import ports
from multios.cli.grammar import FLAG, Argument, Command, Option
from multios.cli.listing import published_at
from multios.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values


def lines(published: list[dict[str, Any]]) -> list[str]:
    """``80/tcp -> 0.0.0.0:8080`` for each, as docker and podman show it."""
    return [f"{port['container']}/{port['protocol']} -> {published_at(port)}" for port in published]


def _port(values: Values, context: Context) -> int:
    published = context.call("containers.inspect", {"ref": values["ref"]})["Published"]
    wanted, _, protocol = (values["port"] or "").partition("/")
    chosen = [
        port
        for port in published
        if not wanted or (str(port["container"]), port["protocol"]) == (wanted, protocol or "tcp")
    ]
    if wanted and not chosen:
        raise NotFound(
            f"container {values['ref']!r} has no published port {values['port']}",
            f"see 'multios-container port {values['ref']}'",
        )
    text = [published_at(port) for port in chosen] if wanted else lines(chosen)
    sys.stdout.write("".join(f"{line}\n" for line in text))
    return 0


def _forward(values: Values, context: Context) -> int:
    mappings = [mapping for text in values["ports"] for mapping in ports(text, "port-forward")]
    method = "containers.withdraw" if values["remove"] else "containers.forward"
    changed = context.call(method, {"ref": values["ref"], "ports": mappings})["ports"]
    if not values["remove"]:
        sys.stdout.write("".join(f"{line}\n" for line in lines(changed)))
    return 0


_CONTAINER = Argument("ref", "CONTAINER", completes="containers")

COMMANDS = {
    "port": Command(
        _port,
        (),
        (_CONTAINER, Argument("port", "[PORT[/PROTOCOL]]", 0)),
        "",
        ("port my-python", "port my-python 80"),
    ),
    "port-forward": Command(
        _forward,
        (Option("--remove --rm", "remove", FLAG, "Take the forwards away"),),
        (_CONTAINER, Argument("ports", "[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]", 1, 0)),
        "A forward stays for later starts too, until it is removed.",
        ("port-forward my-python 8080:80", "port-forward --remove my-python 8080:80"),
    ),
}
