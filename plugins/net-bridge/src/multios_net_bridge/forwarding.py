"""Settings of the host without which no packet passes; sysctl(8)."""

from __future__ import annotations

from pathlib import Path

from multios.model.network import Network
from multios.netlink.namespaces import read_setting, write_setting

_FORWARDING6 = "ipv6/conf/all/forwarding"
_ADVERTISED = 0x00040000  # RTF_ADDRCONF
_HEEDED, _HEEDED_WHILE_FORWARDING = "1", "2"


def enable(network: Network) -> None:
    """Let packets of the network pass the host, and 127.0.0.1 lead into it."""
    write_setting(f"ipv4/conf/{network.interface}/route_localnet", "1")
    if network.internal:
        return
    write_setting("ipv4/ip_forward", "1")
    if network.subnet6 and read_setting(_FORWARDING6) != "1":
        _keep_heeding_routers()
        write_setting(_FORWARDING6, "1")


def loopback6_is_possible() -> bool:
    """Whether a port on ``::1`` can lead into a container.

    Not while bridged packets pass IP's rules: an answer then has the address ``::1`` before it is the host's own,
    and the kernel drops such packets.
    """
    return read_setting("bridge/bridge-nf-call-ip6tables") != "1"


def _keep_heeding_routers() -> None:
    """A host that forwards heeds no router, unless told to: it would lose its own way out.

    Only where it has a way by a router's word now: elsewhere, as on bridges of others, containers could speak as one.
    """
    for interface in _interfaces_to_routers():
        setting = f"ipv6/conf/{interface}/accept_ra"
        if read_setting(setting) == _HEEDED:
            write_setting(setting, _HEEDED_WHILE_FORWARDING)


def _interfaces_to_routers() -> set[str]:
    """Interfaces with a route that a router has advertised (proc(5), net/ipv6_route)."""
    try:
        rows = [line.split() for line in Path("/proc/thread-self/net/ipv6_route").read_text().splitlines()]
    except OSError:
        return set()
    return {row[9] for row in rows if int(row[8], 16) & _ADVERTISED and row[9] != "lo"}
