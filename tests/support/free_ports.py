"""Ports of the host for tests that publish or serve something."""

from __future__ import annotations

import random
import socket

BELOW_OUTGOING = range(10_000, 20_000)
"""No connection of another program takes its own end from here: ip(7), ``ip_local_port_range``."""


def free_port() -> int:
    """A TCP port of the host that nobody uses, at any of its IPv4 addresses; some other each time."""
    for port in random.sample(BELOW_OUTGOING, 100):
        try:
            with socket.create_server(("0.0.0.0", port)):
                return port
        except OSError:
            continue
    raise AssertionError("no free port")
