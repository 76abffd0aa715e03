"""The command line of pasta(1) for an endpoint. Pure."""

from __future__ import annotations

import ipaddress
import os

from multios.errors import Unsupported
from multios.model.network import Endpoint, PortMapping


def words(endpoint: Endpoint, netns: str, pid_file: str, ports: tuple[PortMapping, ...]) -> list[str]:
    """What pasta is told: join ``netns``, make the interface, forward ``ports`` and nothing else.

    ``--no-map-gw`` keeps the gateway's address from being the host's loopback; ``-T none`` and ``-U none`` keep the
    container's loopback from being it. Raises ``Unsupported`` for a port that pasta cannot forward.
    """
    address, _, prefix = endpoint.address.partition("/")
    given = [
        *("--quiet", "--config-net", "--no-map-gw", "--ipv4-only"),
        *("--no-dhcp", "--no-ra", "--no-ndp", "--no-dhcpv6"),
        *("--netns", netns, "--netns-only", "--no-netns-quit", "--pid", pid_file),
        *("--ns-ifname", endpoint.interface, "--address", address, "--netmask", prefix),
        *("--gateway", endpoint.gateway, "--ns-mac-addr", endpoint.mac),
        *("--tcp-ns", "none", "--udp-ns", "none"),
        *_forwards("--tcp-ports", [port for port in ports if port.protocol == "tcp"]),
        *_forwards("--udp-ports", [port for port in ports if port.protocol == "udp"]),
    ]
    for port in ports:
        if port.protocol not in ("tcp", "udp"):
            raise Unsupported(f"pasta forwards no {port.protocol}", "publish tcp or udp ports")
    if os.geteuid() == 0:  # ours in the user namespace, or the tests': else it would become nobody
        given += ["--runas", "0:0"]
    return given


def _forwards(option: str, ports: list[PortMapping]) -> list[str]:
    if not ports:
        return [option, "none"]
    return [word for port in ports for word in (option, _forward(port))]


def _forward(port: PortMapping) -> str:
    if port.address and ipaddress.ip_address(port.address).version != 4:
        raise Unsupported(
            f"publishing on {port.address}: pasta networks have IPv4 only", "publish on an IPv4 address"
        )
    place = f"{port.address}/" if port.address else ""
    return f"{place}{port.host}:{port.container}"
