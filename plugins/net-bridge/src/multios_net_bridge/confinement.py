"""Confined containers: they reach their neighbours, names at the gateway, and what is allowed, and nothing else.

============== ================ ==================================================
set            holds            meaning
============== ================ ==================================================
confined       source           only what is allowed may be reached by it
allowed_blocks source . block   allowed for as long as the container is there
allowed_hosts  source . address allowed for a time: what an allowed name led to
============== ================ ==================================================
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from ipaddress import IPv4Network

from multios.model.network import Endpoint
from multios_net_bridge import nfnetlink as nft
from multios_net_bridge.nfnetlink import Batch, Element

CONFINED, BLOCKS, HOSTS = "confined", "allowed_blocks", "allowed_hosts"
_NUMBERS = {CONFINED: 21, BLOCKS: 22, HOSTS: 23}
_PAIR = (nft.ADDRESS_TYPE << 6 | nft.ADDRESS_TYPE, 8)


def make_sets(batch: Batch) -> None:
    """Make the sets, or leave them as they are."""
    batch.make_set(CONFINED, _NUMBERS[CONFINED], (nft.ADDRESS_TYPE, 4), (0, 0), 0)
    batch.make_set(BLOCKS, _NUMBERS[BLOCKS], _PAIR, (0, 0), nft.INTERVAL | nft.CONCATENATION, fields=(4, 4))
    batch.make_set(HOSTS, _NUMBERS[HOSTS], _PAIR, (0, 0), nft.TIMEOUT)


def forward_rules(batch: Batch, chain: str, outside: bytes) -> None:
    """What passes the host; ``outside`` goes on only for what leaves by an interface that is no bridge of ours."""
    source, target = nft.register(0), nft.register(1)
    pair = nft.load_source_address(source) + nft.load_destination_address(target)
    for name in (BLOCKS, HOSTS):
        allowed = pair + nft.member(name, _NUMBERS[name], source)
        batch.append_rule(chain, _is_confined(), outside, allowed, nft.verdict(nft.ACCEPT))
    batch.append_rule(chain, _is_confined(), nft.verdict(nft.DROP))


def input_rules(batch: Batch, chain: str, established: bytes, redirected: bytes) -> None:
    """What goes to the host itself: answers, and names, which alone are ``redirected`` to the host."""
    for condition in (established, redirected):
        batch.append_rule(chain, _is_confined(), condition, nft.verdict(nft.ACCEPT))
    batch.append_rule(chain, _is_confined(), nft.verdict(nft.DROP))


def _is_confined() -> bytes:
    source = nft.register(0)
    return nft.load_source_address(source) + nft.member(CONFINED, _NUMBERS[CONFINED], source)


# --- elements -----------------------------------------------------------------------------------


def elements(endpoint: Endpoint) -> dict[str, list[Element]]:
    """What a confined endpoint is in the sets, what it learns later apart; nothing for another."""
    if endpoint.egress is None:
        return {}
    source = _source(endpoint)
    blocks = [
        Element(source + block.network_address.packed, end=source + block.broadcast_address.packed)
        for block in collapsed(endpoint.egress)
    ]
    return {CONFINED: [Element(source)], BLOCKS: blocks}


def learned(endpoint: Endpoint, addresses: Iterable[str], seconds: int) -> list[Element]:
    """Addresses that an endpoint may reach for a time."""
    source = _source(endpoint)
    return [
        Element(source + socket.inet_aton(address), timeout=seconds * 1000)
        for address in addresses
        if ":" not in address
    ]


def is_of(element: Element, endpoint: Endpoint) -> bool:
    """Whether an element of the pairs' sets is an endpoint's."""
    return element.key[:4] == _source(endpoint)


def collapsed(blocks: Iterable[str]) -> list[IPv4Network]:
    """The IPv4 blocks among them without overlaps, which a set does not take."""
    networks = (ipaddress.ip_network(block) for block in blocks)
    return list(ipaddress.collapse_addresses(net for net in networks if isinstance(net, IPv4Network)))


def _source(endpoint: Endpoint) -> bytes:
    return socket.inet_aton(endpoint.address.partition("/")[0])
