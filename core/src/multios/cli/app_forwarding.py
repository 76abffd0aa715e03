"""``app port-forward``: a port of this host's loopback that leads to a service while the command runs."""

from __future__ import annotations

import sys

from multios.cli import app_project
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.cli.context import Context
    from multios.cli.grammar import Values

LOOPBACK = "127.0.0.1"


def port_forward(values: Values, context: Context) -> int:
    """Publish the port of a container of this engine until the user has enough."""
    host, port = mapping(values["port"])
    row = app_project.one(context, app_project.name(values), values["service"], values["index"])
    wanted = {"container": port, "protocol": "tcp", "address": LOOPBACK, **({"host": host} if host else {})}
    (made,) = context.call("containers.forward", {"ref": row["id"], "ports": [wanted]})["ports"]
    try:
        until_interrupted(values["service"], made["host"], port)
    finally:
        context.call("containers.withdraw", {"ref": row["id"], "ports": [{**wanted, "host": made["host"]}]})
    return 0


def mapping(text: str) -> tuple[int, int]:
    """``[HOST:]PORT`` as numbers; 0 for a host's port that was not named."""
    outside, separator, inside = text.rpartition(":")
    numbers = [
        item if item.isascii() and item.isdecimal() and len(item) <= 5 else "" for item in (outside, inside)
    ]
    if not numbers[1] or (separator and not numbers[0]):
        raise InvalidInput(f"port: {text!r} is no port", "write PORT, or HOST:PORT as in 8080:80")
    return int(numbers[0] or 0), int(numbers[1])


def until_interrupted(service: str, host: int, port: int) -> None:
    """Say where the service is now, and wait for ctrl-c, or to be told to end."""
    import signal  # deferred: it brings enum

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        sys.stdout.write(f"{LOOPBACK}:{host} -> {service}:{port}\n")
        sys.stdout.flush()
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return
