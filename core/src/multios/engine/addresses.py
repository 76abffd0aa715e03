"""Which subnet a network gets and which address a container: pure arithmetic over text.

Nothing here remembers anything. Addresses may be given with or without a prefix length; what comes back
is plain, as :mod:`ipaddress` writes it.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct
from collections.abc import Container, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from multios.errors import Conflict, InvalidInput

SHORTEST_PREFIX, LONGEST_PREFIX = 8, 30
SHORTEST_PREFIX6, LONGEST_PREFIX6 = 16, 112


@dataclass(frozen=True, slots=True)
class Pool:
    """Subnets of ``prefix`` bits are cut from ``base``, lowest first."""

    base: str
    prefix: int


DEFAULT_POOLS = (
    *(Pool(f"172.{second}.0.0/16", 16) for second in range(17, 32)),
    Pool("10.88.0.0/13", 24),
)


POOLS_TEXT = "172.17.0.0 to 172.31.255.255 and 10.88.0.0/13"


def is_in_pools(subnet: str, pools: Iterable[Pool]) -> bool:
    """Whether a subnet lies within what the engine itself would choose from."""
    bases = ipaddress.collapse_addresses(IPv4Network(pool.base) for pool in pools)
    return any(IPv4Network(subnet).subnet_of(base) for base in bases)


def choose_subnet(pools: Iterable[Pool], used_subnets: Iterable[str], host_routes: Iterable[str]) -> str:
    """The first subnet of the pools that overlaps neither a network nor a route of the host.

    Raises ``Conflict`` when there is none.
    """
    taken = sorted(
        ipaddress.collapse_addresses(
            network
            for text in (*used_subnets, *host_routes)
            if isinstance(network := ipaddress.ip_network(text, strict=False), IPv4Network)
        )
    )
    for pool in pools:
        base = IPv4Network(pool.base)
        size = 1 << (32 - pool.prefix)
        start, end = int(base.network_address), int(base.broadcast_address)
        while start + size - 1 <= end:
            blocker = next((net for net in taken if _meets(net, start, start + size - 1)), None)
            if blocker is None:
                return f"{IPv4Address(start)}/{pool.prefix}"
            # Jump over what is in the way: a /8 route must not be passed a /24 at a time.
            start = (int(blocker.broadcast_address) // size + 1) * size
    raise Conflict(
        "no free subnet: the pools are used up by networks and the host's routes",
        "name one with --subnet, or remove a network",
    )


def choose_address(
    subnet: str,
    gateway: str,
    used: Container[str],
    ip_range: str | None = None,
    last: str = "",
) -> str:
    """A free address of the subnet, or of ``ip_range`` within it; never network, broadcast or gateway.

    ``used`` are plain addresses; only a few are asked for, however many there are.
    ``last`` is the address given out last: the search begins behind it and wraps round (next-fit), so
    that a freed address rests as long as possible. Raises ``Conflict`` when none is free.
    """
    network = IPv4Network(subnet)
    window = IPv4Network(ip_range) if ip_range else network
    first = max(int(window.network_address), int(network.network_address) + 1)
    final = min(int(window.broadcast_address), int(network.broadcast_address) - 1)
    gateway = str(IPv4Address(gateway))
    start = first
    if last and first <= _number(last) < final:
        start = _number(last) + 1
    for candidates in (range(start, final + 1), range(first, start)):
        for candidate in candidates:
            address = str(IPv4Address(candidate))
            if address != gateway and address not in used:
                return address
    raise Conflict(
        f"no free address in {window}: all {max(final - first + 1, 0)} are in use",
        "remove a container, or make a network with a larger subnet",
    )


def choose_subnet6(used_subnets: Iterable[str]) -> str:
    """A random unique local /64 that overlaps no network (RFC 4193, section 3.2)."""
    taken = [IPv6Network(text) for text in used_subnets]
    while True:
        network = IPv6Network((0xFD << 120 | secrets.randbits(56) << 64, 64))
        if not any(network.overlaps(other) for other in taken):
            return str(network)


def choose_address6(subnet6: str, gateway6: str, used: Iterable[str], number: int) -> str:
    """The ``number``-th address of an IPv6 subnet, or the next that is free."""
    network = IPv6Network(subnet6)
    taken = {*used, str(IPv6Address(gateway6))}
    candidate = network[number]
    while str(candidate) in taken:
        candidate += 1
    return str(candidate)


def overlap(one: str, other: str) -> bool:
    """Whether two subnets of either family share an address."""
    left, right = ipaddress.ip_network(one, strict=False), ipaddress.ip_network(other, strict=False)
    return left.version == right.version and left.overlaps(right)


def mac_for(address: str) -> str:
    """The MAC that belongs to an address: locally administered, the same each time.

    So neighbours' ARP entries stay true when an address passes to another container.
    """
    octets = IPv4Address(_number(address)).packed
    return "02:6d:" + ":".join(f"{octet:02x}" for octet in octets)


def host_routes() -> list[str]:
    """The destinations of this network namespace's IPv4 routes, without the default (proc(5), net/route)."""
    try:
        with open("/proc/thread-self/net/route") as table:
            rows = [line.split() for line in table.readlines()[1:]]
    except OSError:
        return []
    found = []
    for row in rows:
        # Native byte order: inet_ntop of a host integer needs it packed the same way.
        destination, mask = (struct.pack("=I", int(row[column], 16)) for column in (1, 7))
        if any(mask):
            found.append(str(IPv4Network((destination, socket.inet_ntoa(mask)))))
    return list(dict.fromkeys(found))


def validate(subnet: str, gateway: str = "", ip_range: str | None = None) -> None:
    """Raise ``InvalidInput`` that names the field which cannot be right."""
    network = _read_network("subnet", subnet)
    if not SHORTEST_PREFIX <= network.prefixlen <= LONGEST_PREFIX:
        raise InvalidInput(
            f"subnet: {subnet!r} must be between /{SHORTEST_PREFIX} and /{LONGEST_PREFIX}",
            "a /24 has room for 253 containers",
        )
    if (
        network.is_loopback
        or network.is_multicast
        or network.is_link_local
        or network.is_reserved
        or network.is_unspecified
    ):
        raise InvalidInput(f"subnet: {subnet!r} is reserved", "use a private one such as 172.20.0.0/16")
    if gateway:
        try:
            address = IPv4Address(gateway)
        except ValueError:
            raise InvalidInput(
                f"gateway: {gateway!r} is no IPv4 address", f"for example {network[1]}"
            ) from None
        if address not in network or address in (network.network_address, network.broadcast_address):
            raise InvalidInput(f"gateway: {gateway!r} is no host of {subnet}", f"for example {network[1]}")
    if ip_range:
        window = _read_network("ip_range", ip_range)
        if not window.subnet_of(network):
            raise InvalidInput(
                f"ip_range: {ip_range!r} is not within {subnet}", "choose a part of the subnet"
            )


def validate6(subnet6: str, gateway6: str = "") -> None:
    """Raise ``InvalidInput`` that names the field which cannot be right."""
    try:
        network = IPv6Network(subnet6)
    except ValueError as error:
        raise InvalidInput(f"subnet: {subnet6!r}: {error}", "write it as fd12:3456:789a::/64") from None
    if not SHORTEST_PREFIX6 <= network.prefixlen <= LONGEST_PREFIX6:
        raise InvalidInput(
            f"subnet: {subnet6!r} must be between /{SHORTEST_PREFIX6} and /{LONGEST_PREFIX6}",
            "a /64 is usual",
        )
    if network.is_loopback or network.is_multicast or network.is_link_local or network.is_unspecified:
        raise InvalidInput(
            f"subnet: {subnet6!r} is reserved", "use a private one such as fd12:3456:789a::/64"
        )
    if gateway6:
        try:
            address = IPv6Address(gateway6)
        except ValueError:
            raise InvalidInput(
                f"gateway: {gateway6!r} is no IPv6 address", f"for example {network[1]}"
            ) from None
        if address not in network or address == network.network_address:
            raise InvalidInput(f"gateway: {gateway6!r} is no host of {subnet6}", f"for example {network[1]}")


def _read_network(field: str, text: str) -> IPv4Network:
    try:
        if "/" not in text:
            raise ValueError
        return IPv4Network(text)
    except ValueError:
        pass
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidInput(f"{field}: {text!r} is no IPv4 subnet", "write it as 172.20.0.0/16") from None
    if loose.version == 6:
        raise InvalidInput(f"{field}: {text!r} is IPv6", "give an IPv4 one too, or leave it out")
    if "/" not in text:
        raise InvalidInput(f"{field}: {text!r} has no prefix length", f"write it as {text}/24")
    raise InvalidInput(f"{field}: {text!r} has host bits set", f"did you mean {loose}?")


def _number(address: str) -> int:
    return int(IPv4Address(address.partition("/")[0]))


def _meets(network: IPv4Network, start: int, end: int) -> bool:
    return int(network.network_address) <= end and start <= int(network.broadcast_address)
