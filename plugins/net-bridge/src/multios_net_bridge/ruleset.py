"""Our table, one for IPv4 and one for IPv6: its sets, chains and rules, and what a network or port is in them.

The rules are the same however many networks and ports there are: those are elements of sets.

========== ============================ ==========================================================
set        holds                        meaning
========== ============================ ==========================================================
bridges    interface                    ours: nothing may enter it from elsewhere unasked
same       interface . interface        traffic within this bridge is allowed
apart      interface . interface        traffic within this bridge is not, by published ports neither
internal   interface                    nothing leaves it
subnets    addresses                    our containers
outgoing   addresses                    of these, who may go outside under the host's address
bound      address . protocol . port    → address . port: published on one of the host's addresses
ports      protocol . port              → address . port: published on all of them
========== ============================ ==========================================================
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from multios_net_bridge import confinement
from multios_net_bridge import nfnetlink as nft
from multios_net_bridge.nfnetlink import IPV4, IPV6, Batch, Element, Family

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
Subnet = IPv4Network | IPv6Network

_PROTOCOL, _PORT, _INTERFACE = nft.PROTOCOL_TYPE, nft.PORT_TYPE, nft.INTERFACE_TYPE
_NAME = 16  # IFNAMSIZ
_LOOPBACK6 = bytes(15) + b"\x01"


@dataclass(frozen=True, slots=True)
class _Set:
    key: tuple[int, int]
    flags: int = 0


class Forward(NamedTuple):
    """A published port: its family's table, the map there, and its element."""

    family: Family
    map: str
    element: Element


_NUMBERS = {
    "bridges": 1,
    "same": 2,
    "internal": 3,
    "subnets": 4,
    "outgoing": 5,
    "bound": 6,
    "ports": 7,
    "apart": 8,
}
SETS = tuple(_NUMBERS)
MAPS = ("bound", "ports")


def family_of(address: str) -> Family:
    """The family of an address or subnet."""
    return IPV6 if ":" in address else IPV4


def _sets(family: Family) -> dict[str, _Set]:
    address, length = family.address_type, family.length
    return {
        "bridges": _Set((_INTERFACE, _NAME)),
        "same": _Set((_INTERFACE << 6 | _INTERFACE, 2 * _NAME)),
        "apart": _Set((_INTERFACE << 6 | _INTERFACE, 2 * _NAME)),
        "internal": _Set((_INTERFACE, _NAME)),
        "subnets": _Set((address, length), nft.INTERVAL),
        "outgoing": _Set((address, length), nft.INTERVAL),
        "bound": _Set((address << 12 | _PROTOCOL << 6 | _PORT, length + 8), nft.MAP),
        "ports": _Set((_PROTOCOL << 6 | _PORT, 8), nft.MAP),
    }


def install(batch: Batch, family: Family, from_loopback: bool) -> None:
    """Make the table what it should be, its elements apart: sound on a fresh host and on one that has it.

    ``from_loopback``: what is published on all addresses is on the host's loopback, too.
    """
    batch.make_table()
    # Priorities as nft(8) names them: raw, dstnat, filter, srcnat.
    batch.make_chain("guard", "filter", nft.PREROUTING, -300)
    batch.make_chain("arriving", "nat", nft.PREROUTING, -100)
    batch.make_chain("own", "nat", nft.OUTPUT, -100)
    batch.make_chain("entering", "filter", nft.INPUT, 0)
    batch.make_chain("passing", "filter", nft.FORWARD, 0)
    batch.make_chain("leaving", "nat", nft.POSTROUTING, 100)
    batch.clear_rules()
    target = (family.address_type << 6 | _PORT, family.length + 4)
    for name, item in _sets(family).items():
        batch.make_set(name, _NUMBERS[name], item.key, target, item.flags)
    confinement.make_sets(batch, family)
    _guard_rules(batch, family)
    confinement.input_rules(batch, family, "entering", _is_answer(), _was_published())
    _forward_rules(batch, family)
    for chain in ("arriving", "own"):
        _publish_rules(batch, family, chain, from_loopback)
    _leaving_rules(batch, family)


def _from(name: str) -> bytes:
    return nft.load_meta(nft.IIFNAME, nft.register(0)) + _in(name)


def _towards(name: str) -> bytes:
    return nft.load_meta(nft.OIFNAME, nft.register(0)) + _in(name)


def _in(name: str) -> bytes:
    return nft.member(name, _NUMBERS[name], nft.register(0))


def _was_published() -> bytes:
    word = nft.register(0)
    status = nft.load_connection(nft.CT_STATUS, word) + nft.mask(word, nft.host_word(nft.DESTINATION_NAT))
    return status + nft.differs(word, bytes(4))


def _is_answer() -> bytes:
    word = nft.register(0)
    state = nft.load_connection(nft.CT_STATE, word) + nft.mask(word, nft.host_word(nft.ESTABLISHED_RELATED))
    return state + nft.differs(word, bytes(4))


def _to_outside() -> bytes:
    word = nft.register(0)
    return nft.load_meta(nft.OIFNAME, word) + nft.no_member("bridges", _NUMBERS["bridges"], word)


def _has_loopback(family: Family, load: bytes) -> bytes:
    """Whether the address that ``load`` puts into register 0 is the host's loopback."""
    word = nft.register(0)
    if family is IPV6:
        return load + nft.equals(word, _LOOPBACK6)
    return load + nft.mask(word, b"\xff\0\0\0") + nft.equals(word, b"\x7f\0\0\0")


def _guard_rules(batch: Batch, family: Family) -> None:
    # Publishing on the loopback must not let containers reach the host's own.
    loopback = _has_loopback(family, nft.load_destination_address(family, nft.register(0)))
    batch.append_rule("guard", _from("bridges"), loopback, nft.verdict(nft.DROP))


def _forward_rules(batch: Batch, family: Family) -> None:
    word, second = nft.register(0), nft.register(4)
    both = nft.load_meta(nft.IIFNAME, word) + nft.load_meta(nft.OIFNAME, second)
    accept, drop = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
    batch.append_rule("passing", _is_answer(), accept)
    batch.append_rule("passing", both, _in("apart"), drop)
    confinement.published_rule(batch, family, "passing", _was_published())
    batch.append_rule("passing", both, _in("same"), accept)
    batch.append_rule("passing", _from("internal"), drop)
    confinement.forward_rules(batch, family, "passing", _to_outside())
    batch.append_rule("passing", _towards("bridges"), _was_published(), accept)
    batch.append_rule("passing", _towards("bridges"), drop)


def _publish_rules(batch: Batch, family: Family, chain: str, from_loopback: bool) -> None:
    # A key begins in register 0; what it is translated to, behind it.
    behind, target = nft.register(family.words), nft.register(8)
    first, second = nft.register(0), nft.register(1)
    local = nft.load_destination_kind(first) + nft.equals(first, nft.host_word(nft.LOCAL))
    redirect = nft.destination_nat(family, target, target + family.words)
    at_address = (
        nft.load_destination_address(family, first)
        + nft.load_meta(nft.L4PROTO, behind)
        + nft.load_destination_port(behind + 1)
        + nft.translate("bound", _NUMBERS["bound"], first, target)
    )
    anywhere = (
        nft.load_meta(nft.L4PROTO, first)
        + nft.load_destination_port(second)
        + nft.translate("ports", _NUMBERS["ports"], first, target)
    )
    if chain == "arriving" or not from_loopback:
        # From elsewhere nobody reaches the host's loopback; led to a container, the kernel would not see what it was for.
        loopback = _has_loopback(family, nft.load_destination_address(family, first))
        batch.append_rule(chain, loopback, nft.verdict(nft.ACCEPT))
    batch.append_rule(chain, local, at_address, redirect)
    batch.append_rule(chain, local, anywhere, redirect)


def _leaving_rules(batch: Batch, family: Family) -> None:
    source = nft.load_source_address(family, nft.register(0))
    batch.append_rule("leaving", _to_outside(), source + _in("outgoing"), nft.masquerade())
    batch.append_rule("leaving", _towards("bridges"), _has_loopback(family, source), nft.masquerade())
    # Hairpin: the answer of a neighbour on the same bridge must come back through the host.
    batch.append_rule(
        "leaving", _towards("bridges"), _was_published(), source + _in("subnets"), nft.masquerade()
    )


# --- elements -----------------------------------------------------------------------------------


def membership(
    interface: str, subnet: str, internal: bool, isolate: bool, masquerade: bool
) -> dict[str, tuple[list[Element], bool]]:
    """What a network is in each set, and whether it belongs there."""
    name = interface.encode().ljust(_NAME, b"\0")
    block = _interval(ip_network(subnet))
    return {
        "bridges": ([Element(name)], True),
        "same": ([Element(name + name)], not isolate),
        "apart": ([Element(name + name)], isolate),
        "internal": ([Element(name)], internal),
        "subnets": (block, True),
        "outgoing": (block, masquerade and not internal),
    }


def forward(host_address: str, protocol: str, port: int, address: str, container_port: int) -> Forward:
    """A published port."""
    target = ip_address(address).packed + _word(container_port)
    key = bytes([PROTOCOLS[protocol], 0, 0, 0]) + _word(port)
    if host_address:
        return Forward(family_of(address), "bound", Element(ip_address(host_address).packed + key, target))
    return Forward(family_of(address), "ports", Element(key, target))


def leads_to(element: Element, subnet: Subnet) -> bool:
    """Whether a published port goes to an address of ``subnet``, which is of its family."""
    return ip_address(element.data[:-4]) in subnet


def _word(port: int) -> bytes:
    return struct.pack(">HH", port, 0)


def _interval(subnet: Subnet) -> list[Element]:
    end = subnet.broadcast_address + 1
    start = Element(subnet.network_address.packed)
    return [start, Element(end.packed, flags=nft.INTERVAL_END)]
