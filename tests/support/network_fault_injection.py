"""A hooks plugin for tests, beside :mod:`fault_injection`: steps inside a network driver's verbs.

Verbs are reached through the driver's contract; what happens between the kernel's objects, by the settings of
interfaces and the sockets that the daemon opens meanwhile (sys.addaudithook).
"""

from __future__ import annotations

import functools
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import fault_injection
from network_faults import BRIDGE_MADE, PAIR_MADE, RULES_GONE

VERBS = (
    "create_network",
    "delete_network",
    "add",
    "delete",
    "publish",
    "unpublish",
    "restore",
    "serve_names",
)
_OPENED = {
    re.compile(r"/proc/sys/net/ipv4/conf/[^/]+/route_localnet"): BRIDGE_MADE,
    re.compile(r"/proc/sys/net/ipv6/conf/eth\d+/disable_ipv6"): PAIR_MADE,
}
_under_way: list[str] = []
"""Verbs that have begun and not ended."""


def install(site: Path) -> None:
    """As :func:`fault_injection.install`, for both plugins."""
    fault_injection.install(site)
    metadata = site / "multios_network_fault_injection-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: multios-network-fault-injection\nVersion: 1\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[multios.hooks.v1]\nnetwork-fault-injection = network_fault_injection\n"
    )
    for name in ("network_fault_injection.py", "network_faults.py"):
        (site / name).symlink_to(Path(__file__).resolve().parent / name)


def _reach_verbs() -> None:
    from multios_net_bridge import BridgeNetwork

    for verb in VERBS:
        setattr(BridgeNetwork, verb, _met(verb, getattr(BridgeNetwork, verb)))


def _met(verb: str, original: Any) -> Any:
    @functools.wraps(original)
    def call(*arguments: Any, **words: Any) -> Any:
        fault_injection._meet(f"driver {verb}", "before")
        _under_way.append(verb)
        try:
            result = original(*arguments, **words)
        finally:
            _under_way.remove(verb)
        fault_injection._meet(f"driver {verb}", "after")
        return result

    return call


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith("/proc/sys/net/"):
        for path, step in _OPENED.items():
            if path.fullmatch(arguments[0]):
                fault_injection._meet(step, "before")
    # The bridge is removed by a socket of its own, the rules by one that is open already.
    if event == "socket.__new__" and arguments[1] == socket.AF_NETLINK and "delete_network" in _under_way:
        fault_injection._meet(RULES_GONE, "before")


if fault_injection.ENVIRONMENT in os.environ:
    import pluggy

    _reach_verbs()
    sys.addaudithook(_audit)

    @pluggy.HookimplMarker("multios")
    def multios_event() -> None:
        """A plugin has a hook; this one needs none."""
