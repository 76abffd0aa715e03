"""The way of a packet from a process to the outside: interface, veth, bridge, rules, the host's interface."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multios.drivers.network import HostRule
from multios.explain import links
from multios.explain.links import Inside
from multios.explain.live import LiveProcess
from multios.explain.part import part
from multios.model.container import Container
from multios.model.network import Endpoint, Network, PortMapping
from multios.netlink.interfaces import Link

Attached = Sequence[tuple[Network, Endpoint, Sequence[HostRule]]]
_BY_VETH = (
    "The container has a network interface of its own, one end of a virtual cable (veth) whose other end is "
    "plugged into a bridge, a switch that the kernel plays on the host.",
    "The host passes its packets on under its own address, and lets in only what was asked for or published.",
)
_OTHERWISE = (
    "The container has a network interface of its own in its own network namespace, with routes of its own.",
    "What it sends there goes out by an interface of the host's, or by a program that passes it on.",
)
_ON_HOST = (
    "The container has no network namespace of its own: it uses the host's interfaces and ports.",
    "So a port that it listens on is a port of the host's, and nothing stands between.",
)
_ALONE = (
    "The container has a network namespace in which there is nothing but the loopback interface.",
    "So its programs can talk to each other, and to nobody else.",
)
_SHARED = (
    "The container has no network namespace of its own: it uses that of another container, with its interfaces, addresses and ports.",
    "So the two reach each other at 127.0.0.1, and to the outside they are one. It needs the other's user namespace, too, which "
    "the network namespace belongs to.",
)
_SERVERS = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)


def network(
    container: Container, process: LiveProcess | None, owner: Container, attached: Attached, resolver: Path
) -> dict[str, Any]:
    """Every step of the way, in order, for each network; ``resolver`` is the engine's resolv.conf for it.

    ``owner`` is the container whose network it is, mostly itself, and ``attached`` are that one's places.
    """
    pid = str(process.pid) if process else "PID"
    facts: dict[str, Any] = {
        "mode": _mode(container),
        "owner": owner.name,
        "interfaces": [],
        "routes": [],
        "path": [],
        "ports": [_port(port) for port in owner.ports],
        "name_servers": _SERVERS.findall(resolver.read_text()) if resolver.exists() else [],
        "hosts_file": str(resolver.with_name("hosts")),
    }
    if process:
        inside = _inside(process)
        facts["interfaces"] = [links.shown(link, inside) for link in inside.links.values()]
        facts["routes"] = [
            {"to": target, "via": gateway, "interface": inside.links[index].name}
            for target, gateway, index in inside.routes
            if index in inside.links
        ]
        if facts["mode"] in ("private", "container"):
            facts["path"] = [step for way in attached for step in _way(container, inside, pid, *way)]
    else:
        facts["ports"] = [_port(port) for port in owner.config.networking.ports]
        facts["planned"] = list(owner.config.networking.networks)
    return part(
        "network",
        "Network: the way out",
        _about(facts),
        (
            f"nsenter --target {pid} --net ip address   (as root on the host)",
            "ip link show type bridge; bridge link",
            "nft list ruleset",
            "cat /etc/resolv.conf /proc/net/route   (inside)",
        ),
        facts,
    )


def _about(facts: Mapping[str, Any]) -> tuple[str, str]:
    if facts["mode"] == "host":
        return _ON_HOST
    if facts["mode"] == "none":
        return _ALONE
    if facts["mode"] == "container":
        return _SHARED
    kinds = {link["kind"] for link in facts["interfaces"]} - {""}
    return _BY_VETH if not kinds or "veth" in kinds else _OTHERWISE


def _mode(container: Container) -> str:
    networks = container.config.networking.networks
    if container.config.networking.shared_with:
        return "container"
    return networks[0] if networks in (("none",), ("host",)) else "private"


def _inside(process: LiveProcess) -> Inside:
    descriptor = process.open("ns/net")
    try:
        return links.inside(descriptor)
    finally:
        os.close(descriptor)


def _way(
    container: Container,
    inside: Inside,
    pid: str,
    network: Network,
    endpoint: Endpoint,
    rules: Sequence[HostRule],
) -> list[dict[str, Any]]:
    own = next((link for link in inside.links.values() if link.name == endpoint.interface), None)
    if own is None:
        return []
    steps = [
        _step(
            network,
            "process",
            container.name,
            "the program asks its own kernel tables",
            f"/proc/{pid}/net/route",
        )
    ]
    addresses = ", ".join(inside.addresses.get(own.index, ()))
    gateways = [
        via for target, via, index in inside.routes if target == "default" and index == own.index and via
    ]
    steps.append(
        _step(
            network,
            "interface",
            own.name,
            f"{own.kind or 'interface'} {own.mac}, {addresses or 'no address'}"
            + (f", default route by {gateways[0]}" if gateways else ""),
            f"nsenter --target {pid} --net ip address show {own.name}",
        )
    )
    peer = links.host_link(own.parent)
    if peer is not None:
        steps += _host_side(network, own, peer)
    steps += [_step(network, "rule", rule.place, rule.words, rule.see) for rule in rules]
    return steps + _outside(network)


def _host_side(network: Network, own: Link, peer: Link) -> list[dict[str, Any]]:
    if own.kind != "veth":
        about = f"the host's interface that {own.name} is a child of"
        return [_step(network, "parent", peer.name, about, f"ip link show {peer.name}")]
    steps = [
        _step(
            network,
            "veth",
            peer.name,
            f"the other end of the cable, on the host: number {own.parent} there",
            f"ip link show {peer.name}",
        )
    ]
    bridge = links.host_link(peer.master)
    if bridge is not None:
        found = links.here().addresses.get(bridge.index, ())
        about = f"{bridge.kind} of network {network.name}, {', '.join(found) or 'no address'}"
        steps.append(_step(network, "bridge", bridge.name, about, f"ip address show {bridge.name}"))
    return steps


def _outside(network: Network) -> list[dict[str, Any]]:
    """The host's default route; an internal network ends before it."""
    if network.internal:
        return [_step(network, "end", "nowhere", "the network is internal: nothing leaves it", "")]
    host = links.here()
    for target, gateway, index in host.routes:
        if target == "default" and index in host.links:
            link = host.links[index]
            about = (
                f"{', '.join(host.addresses.get(index, ()))}; default route by {gateway or 'the link itself'}"
            )
            return [_step(network, "uplink", link.name, about, "ip route show default")]
    return [_step(network, "end", "nowhere", "the host has no default route", "ip route show default")]


def _step(network: Network, kind: str, name: str, detail: str, see: str) -> dict[str, Any]:
    return {"network": network.name, "kind": kind, "name": name, "detail": detail, "see": see}


def _port(port: PortMapping) -> Mapping[str, Any]:
    return {
        "address": port.address or "every address",
        "host": port.host,
        "container": port.container,
        "protocol": port.protocol,
    }
