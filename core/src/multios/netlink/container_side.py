"""A container's own side of an endpoint: addresses and routes of its interface, set and compared."""

from __future__ import annotations

import enum
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from ipaddress import IPv4Interface, IPv6Interface

from multios.errors import InvalidInput
from multios.model.network import Endpoint, Network
from multios.netlink import interfaces
from multios.netlink.interfaces import LINK, UP, find_link
from multios.netlink.messages import (
    F_ACK,
    F_APPEND,
    F_CREATE,
    F_EXCLUSIVE,
    Connection,
    Message,
    attribute,
    attributes,
    unsigned,
)
from multios.netlink.namespaces import done_inside, inside, write_setting

Interface = IPv4Interface | IPv6Interface
Route = tuple[str, str]
"""A gateway, empty for the link itself, and an address that tells the family."""

_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, two lengths, service, table, protocol, scope, kind, flags
_LOCAL_ADDRESS, _ITS_ADDRESS, _BROADCAST = 2, 1, 4
_NO_DETECTION = 0x02  # IFA_F_NODAD: nobody else has it, and waiting for that to be sure takes a second
_OUTGOING, _GATEWAY, _METRIC = 4, 5, 6
_USUAL_METRIC = 1024
_MAIN, _STATIC, _UNICAST = 254, 4, 1
_SMALLEST_MTU6 = 1280  # RFC 8200, section 5
_NO_LINK_LOCAL = "1"  # IN6_ADDR_GEN_MODE_NONE


class DefaultRoute(enum.Enum):
    """Where a container sends what is for elsewhere."""

    NONE = "none"
    GATEWAY = "gateway"
    LINK = "link"


def check_mtu(network: Network, mtu: int) -> None:
    """Raise ``InvalidInput`` for packets that are too small for the network: the kernel has no IPv6 below 1280 bytes."""
    if network.subnet6 and mtu < _SMALLEST_MTU6:
        raise InvalidInput(
            f"mtu: {mtu} is too small for IPv6, which needs {_SMALLEST_MTU6}",
            "choose a larger one, or leave out --ipv6",
        )


def configure(
    endpoint: Endpoint,
    netns: int,
    default: DefaultRoute,
    further: Callable[[int], Sequence[Message]] = lambda index: (),
) -> None:
    """Give the endpoint's interface its addresses, set it up, add the default routes, then what ``further`` makes.

    The interface is there already, down; ``further`` gets its index. Raises ``OSError``.
    """
    with inside(netns):
        _settle_ipv6(endpoint)
        index = socket.if_nametoindex(endpoint.interface)
        connection = Connection(interfaces.PROTOCOL)
    with closing(connection):
        addresses = [_address(own, index) for own in _own(endpoint)]
        up = Message(interfaces.NEW_LINK, F_ACK, LINK.pack(0, 0, index, UP, UP))
        routes = [_default(route, index) for route in _routes(endpoint, default)]
        connection.request([*addresses, up, *routes, *further(index)])


def faults(endpoint: Endpoint, netns: int, default: DefaultRoute, own_mac: bool = True) -> list[str]:
    """What is not as :func:`configure` left it, in words; ``own_mac``: the endpoint's MAC is the interface's."""
    connection = done_inside(netns, lambda: Connection(interfaces.PROTOCOL))
    with closing(connection):
        link = find_link(connection, endpoint.interface)
        if link is None:
            return [f"interface {endpoint.interface} is missing in the container"]
        found = []
        if not link.up:
            found.append(f"interface {endpoint.interface} is down in the container")
        if own_mac and link.mac != endpoint.mac.lower():
            found.append(f"interface {endpoint.interface} has MAC {link.mac}, not {endpoint.mac}")
        for own in _own(endpoint):
            if not _has_address(connection, own, link.index):
                found.append(f"address {own} is missing in the container")
        for gateway, family in _routes(endpoint, default):
            if not _has_default(connection, gateway, link.index, _family(family)):
                way = f"by {gateway}" if gateway else f"by {endpoint.interface}"
                found.append(f"the default route {way} is missing in the container")
        return found


# --- details ------------------------------------------------------------------------------------


def _settle_ipv6(endpoint: Endpoint) -> None:
    """No IPv6 but the endpoint's own address.

    Else a neighbour's router advertisement could give it routes, and link-local addresses would be a second
    network beside the one that was asked for.
    """
    settings = f"ipv6/conf/{endpoint.interface}"
    if endpoint.address6:
        write_setting(f"{settings}/accept_ra", "0")
        write_setting(f"{settings}/addr_gen_mode", _NO_LINK_LOCAL)
    write_setting(f"{settings}/disable_ipv6", "0" if endpoint.address6 else "1")


def _own(endpoint: Endpoint) -> Iterator[Interface]:
    for text in (endpoint.address, endpoint.address6):
        if text:
            yield ipaddress.ip_interface(text)


def _routes(endpoint: Endpoint, default: DefaultRoute) -> Iterator[Route]:
    if default is DefaultRoute.NONE:
        return
    for address, gateway in ((endpoint.address, endpoint.gateway), (endpoint.address6, endpoint.gateway6)):
        if address:
            yield (gateway if default is DefaultRoute.GATEWAY else ""), address


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _address(own: Interface, index: int) -> Message:
    packed = own.ip.packed
    if isinstance(own, IPv4Interface):
        head = _ADDRESS.pack(socket.AF_INET, own.network.prefixlen, 0, 0, index)
        parts = attribute(_BROADCAST, own.network.broadcast_address.packed)
    else:
        head = _ADDRESS.pack(socket.AF_INET6, own.network.prefixlen, _NO_DETECTION, 0, index)
        parts = b""
    parts += attribute(_ITS_ADDRESS, packed) + attribute(_LOCAL_ADDRESS, packed)
    return Message(interfaces.NEW_ADDRESS, F_ACK | F_CREATE | F_EXCLUSIVE, head + parts)


def _default(route: Route, index: int) -> Message:
    gateway, address = route
    # Appended, not exclusive: a container on two networks has two, and the second serves when the first is left.
    family = _family(address)
    parts = _ROUTE.pack(family, 0, 0, 0, _MAIN, _STATIC, 0, _UNICAST, 0) + unsigned(_OUTGOING, index)
    if gateway:
        parts += attribute(_GATEWAY, ipaddress.ip_address(gateway).packed)
    if family is socket.AF_INET6:  # where equals would share the packets between them
        parts += unsigned(_METRIC, _USUAL_METRIC + index)
    return Message(interfaces.NEW_ROUTE, F_ACK | F_CREATE | F_APPEND, parts)


def _has_address(connection: Connection, own: Interface, index: int) -> bool:
    family = socket.AF_INET if own.version == 4 else socket.AF_INET6
    replies = connection.dump(Message(interfaces.GET_ADDRESS, 0, _ADDRESS.pack(family, 0, 0, 0, 0)))
    wanted = (own.network.prefixlen, index, own.ip.packed)
    return any(_said_address(reply) == wanted for reply in replies)


def _said_address(reply: bytes) -> tuple[int, int, bytes]:
    _, prefix, _, _, index = _ADDRESS.unpack_from(reply)
    said = attributes(reply[_ADDRESS.size :])
    return prefix, index, said.get(_LOCAL_ADDRESS) or said.get(_ITS_ADDRESS, b"")


def _has_default(connection: Connection, gateway: str, index: int, family: int) -> bool:
    query = Message(interfaces.GET_ROUTE, 0, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    wanted = ipaddress.ip_address(gateway).packed if gateway else None
    for reply in connection.dump(query):
        said = attributes(reply[_ROUTE.size :])
        if (
            reply[1] == 0
            and said.get(_GATEWAY) == wanted
            and said.get(_OUTGOING, b"") == unsigned(4, index)[4:]
        ):
            return True
    return False
