"""Our table: its sets, chains and rules, and what a network or a published port is in them.

The rules are the same however many networks and ports there are: those are elements of sets.

========== ============================ ==========================================================
set        holds                        meaning
========== ============================ ==========================================================
bridges    interface                    ours: nothing may enter it from elsewhere unasked
same       interface . interface        traffic within this bridge is allowed
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
from ipaddress import IPv4Address, IPv4Network

from multios_net_bridge import confinement
from multios_net_bridge import nfnetlink as nft
from multios_net_bridge.nfnetlink import Batch, Element

PROTOCOLS = {"tcp": 6, "udp": 17}

_ADDRESS, _PROTOCOL, _PORT, _INTERFACE = (
    nft.ADDRESS_TYPE,
    nft.PROTOCOL_TYPE,
    nft.PORT_TYPE,
    nft.INTERFACE_TYPE,
)
_TARGET = (_ADDRESS << 6 | _PORT, 8)
_NAME = 16  # IFNAMSIZ


@dataclass(frozen=True, slots=True)
class _Set:
    number: int
    key: tuple[int, int]
    flags: int = 0


SETS = {
    "bridges": _Set(1, (_INTERFACE, _NAME)),
    "same": _Set(2, (_INTERFACE << 6 | _INTERFACE, 2 * _NAME)),
    "internal": _Set(3, (_INTERFACE, _NAME)),
    "subnets": _Set(4, (_ADDRESS, 4), nft.INTERVAL),
    "outgoing": _Set(5, (_ADDRESS, 4), nft.INTERVAL),
    "bound": _Set(6, (_ADDRESS << 12 | _PROTOCOL << 6 | _PORT, 12), nft.MAP),
    "ports": _Set(7, (_PROTOCOL << 6 | _PORT, 8), nft.MAP),
}
MAPS = ("bound", "ports")


def install(batch: Batch) -> None:
    """Make the table what it should be, its elements apart: sound on a fresh host and on one that has it."""
    batch.make_table()
    # Priorities as nft(8) names them: raw, dstnat, filter, srcnat.
    batch.make_chain("guard", "filter", nft.PREROUTING, -300)
    batch.make_chain("arriving", "nat", nft.PREROUTING, -100)
    batch.make_chain("own", "nat", nft.OUTPUT, -100)
    batch.make_chain("entering", "filter", nft.INPUT, 0)
    batch.make_chain("passing", "filter", nft.FORWARD, 0)
    batch.make_chain("leaving", "nat", nft.POSTROUTING, 100)
    batch.clear_rules()
    for name, item in SETS.items():
        batch.make_set(name, item.number, item.key, _TARGET, item.flags)
    confinement.make_sets(batch)
    _guard_rules(batch)
    confinement.input_rules(batch, "entering", _is_answer(), _was_published())
    _forward_rules(batch)
    for chain in ("arriving", "own"):
        _publish_rules(batch, chain)
    _leaving_rules(batch)


def _from(name: str) -> bytes:
    return nft.load_meta(nft.IIFNAME, nft.register(0)) + _in(name)


def _towards(name: str) -> bytes:
    return nft.load_meta(nft.OIFNAME, nft.register(0)) + _in(name)


def _in(name: str) -> bytes:
    return nft.member(name, SETS[name].number, nft.register(0))


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
    return nft.load_meta(nft.OIFNAME, word) + nft.no_member("bridges", SETS["bridges"].number, word)


def _guard_rules(batch: Batch) -> None:
    # route_localnet, which 127.0.0.1:port needs, must not let containers reach the host's own loopback.
    word = nft.register(0)
    loopback = (
        nft.load_destination_address(word) + nft.mask(word, b"\xff\0\0\0") + nft.equals(word, b"\x7f\0\0\0")
    )
    batch.append_rule("guard", _from("bridges"), loopback, nft.verdict(nft.DROP))


def _forward_rules(batch: Batch) -> None:
    word, second = nft.register(0), nft.register(4)
    both = nft.load_meta(nft.IIFNAME, word) + nft.load_meta(nft.OIFNAME, second) + _in("same")
    accept, drop = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
    batch.append_rule("passing", _is_answer(), accept)
    batch.append_rule("passing", both, accept)
    batch.append_rule("passing", _from("internal"), drop)
    confinement.forward_rules(batch, "passing", _to_outside())
    batch.append_rule("passing", _towards("bridges"), _was_published(), accept)
    batch.append_rule("passing", _towards("bridges"), drop)


def _publish_rules(batch: Batch, chain: str) -> None:
    zero, one, two = nft.register(0), nft.register(1), nft.register(2)
    address, port = nft.register(4), nft.register(5)
    to_host = nft.load_destination_kind(zero) + nft.equals(zero, nft.host_word(nft.LOCAL))
    redirect = nft.destination_nat(address, port)
    at_address = (
        nft.load_destination_address(zero)
        + nft.load_meta(nft.L4PROTO, one)
        + nft.load_destination_port(two)
        + nft.translate("bound", SETS["bound"].number, zero, address)
    )
    anywhere = (
        nft.load_meta(nft.L4PROTO, zero)
        + nft.load_destination_port(one)
        + nft.translate("ports", SETS["ports"].number, zero, address)
    )
    batch.append_rule(chain, to_host, at_address, redirect)
    batch.append_rule(chain, to_host, anywhere, redirect)


def _leaving_rules(batch: Batch) -> None:
    word = nft.register(0)
    outside = _to_outside()
    source = nft.load_source_address(word)
    loopback = source + nft.mask(word, b"\xff\0\0\0") + nft.equals(word, b"\x7f\0\0\0")
    batch.append_rule("leaving", outside, source + _in("outgoing"), nft.masquerade())
    batch.append_rule("leaving", _towards("bridges"), loopback, nft.masquerade())
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
    block = _interval(IPv4Network(subnet))
    return {
        "bridges": ([Element(name)], True),
        "same": ([Element(name + name)], not isolate),
        "internal": ([Element(name)], internal),
        "subnets": (block, True),
        "outgoing": (block, masquerade and not internal),
    }


def forward(
    host_address: str, protocol: str, port: int, address: str, container_port: int
) -> tuple[str, Element]:
    """A published port: the map that it belongs to and its element there."""
    target = IPv4Address(address).packed + _word(container_port)
    key = bytes([PROTOCOLS[protocol], 0, 0, 0]) + _word(port)
    if host_address:
        return "bound", Element(IPv4Address(host_address).packed + key, target)
    return "ports", Element(key, target)


def leads_to(element: Element, subnet: IPv4Network) -> bool:
    """Whether a published port goes to an address of ``subnet``."""
    return IPv4Address(element.data[:4]) in subnet


def _word(port: int) -> bytes:
    return struct.pack(">HH", port, 0)


def _interval(subnet: IPv4Network) -> list[Element]:
    end = int(subnet.broadcast_address) + 1
    start = Element(subnet.network_address.packed)
    return [start, Element(IPv4Address(end).packed, flags=nft.INTERVAL_END)]
