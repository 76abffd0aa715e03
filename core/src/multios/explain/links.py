"""A container's interfaces, addresses and routes as rtnetlink(7) tells from inside, and what is behind them on the host."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multios.netlink.interfaces import (
    GET_ADDRESS,
    GET_ROUTE,
    PROTOCOL,
    Link,
    find_link,
)
from multios.netlink.messages import Connection, Message, attributes
from multios.netlink.namespaces import done_inside

_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
MOST = 64
"""Interfaces and routes that are told of: who may make them makes as many as he likes."""
_MAIN = 254
_UNICAST = 1
_GLOBAL, _LINK_LOCAL = 0, 253


@dataclass(frozen=True, slots=True)
class Inside:
    """What the namespace has: its interfaces by index, their addresses, its routes ``(destination, gateway, index)``."""

    links: Mapping[int, Link]
    addresses: Mapping[int, tuple[str, ...]]
    routes: tuple[tuple[str, str, int], ...]


def inside(namespace: int) -> Inside:
    """Everything in the network namespace behind a descriptor."""
    return done_inside(namespace, here)


def here() -> Inside:
    """Everything in the calling thread's network namespace."""
    connection = Connection(PROTOCOL)
    try:
        addresses: dict[int, list[str]] = {}
        for reply in connection.dump(Message(GET_ADDRESS, 0, _ADDRESS.pack(0, 0, 0, 0, 0))):
            _, length, _, _, index = _ADDRESS.unpack_from(reply)
            fields = attributes(reply[_ADDRESS.size :])
            packed = fields.get(2) or fields[1]
            addresses.setdefault(index, []).append(f"{ipaddress.ip_address(packed)}/{length}")
        links = {}
        for index, _ in socket.if_nameindex()[:MOST]:
            try:
                link = find_link(connection, str(index))
            except UnicodeDecodeError:
                continue  # who may make interfaces may call them anything
            if link:
                links[index] = link
        return Inside(links, {index: tuple(found) for index, found in addresses.items()}, _routes(connection))
    finally:
        connection.close()


def host_link(index: int) -> Link | None:
    """An interface of the host's by its number."""
    connection = Connection(PROTOCOL)
    try:
        return find_link(connection, str(index)) if index > 0 else None
    finally:
        connection.close()


def host_link_named(name: str) -> Link | None:
    """An interface of the host's by its name."""
    return host_link(socket.if_nametoindex(name)) if os.path.exists(f"/sys/class/net/{name}") else None


def _routes(connection: Connection) -> tuple[tuple[str, str, int], ...]:
    found = []
    for reply in connection.dump(Message(GET_ROUTE, 0, _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0))):
        family, length, _, _, table, _, scope, kind, _ = _ROUTE.unpack_from(reply)
        fields = attributes(reply[_ROUTE.size :])
        if table != _MAIN or kind != _UNICAST or scope not in (_GLOBAL, _LINK_LOCAL):
            continue
        if family not in (socket.AF_INET, socket.AF_INET6) or 4 not in fields:
            continue
        target = "default" if not length else f"{ipaddress.ip_address(fields[1])}/{length}"
        gateway = str(ipaddress.ip_address(fields[5])) if 5 in fields else ""
        found.append((target, gateway, int.from_bytes(fields[4], sys.byteorder)))
    return tuple(found[:MOST])


def shown(link: Link, inside: Inside) -> dict[str, Any]:
    """An interface for the document."""
    return {
        "name": link.name,
        "kind": link.kind,
        "mac": link.mac,
        "mtu": link.mtu,
        "up": link.up,
        "addresses": list(inside.addresses.get(link.index, ())),
    }
