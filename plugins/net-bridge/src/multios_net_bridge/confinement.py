"""Confined containers: they reach their neighbours, names at the gateway, and what is allowed, and nothing else.

============== ================ ==================================================
set            holds            meaning
============== ================ ==================================================
confined       source           only what is allowed may be reached by it
allowed_blocks source . block   allowed for as long as the container is there
allowed_hosts  source . address allowed for a time: what an allowed name led to
refused        source           confined, too: it counts the packets that were dropped
============== ================ ==================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from multios.model.network import Endpoint
from multios_net_bridge import nfnetlink as nft
from multios_net_bridge.nfnetlink import IPV6, Batch, Element, Family

CONFINED, BLOCKS, HOSTS, REFUSED = "confined", "allowed_blocks", "allowed_hosts", "refused"
_NUMBERS = {CONFINED: 21, BLOCKS: 22, HOSTS: 23, REFUSED: 24}
_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT = b"\x87", b"\x88"


def make_sets(batch: Batch, family: Family) -> None:
    """Make the sets, or leave them as they are."""
    one, length = family.address_type, family.length
    pair = (one << 6 | one, 2 * length)
    batch.make_set(CONFINED, _NUMBERS[CONFINED], (one, length), (0, 0), 0)
    ranges = nft.INTERVAL | nft.CONCATENATION
    batch.make_set(BLOCKS, _NUMBERS[BLOCKS], pair, (0, 0), ranges, fields=(length, length))
    batch.make_set(HOSTS, _NUMBERS[HOSTS], pair, (0, 0), nft.TIMEOUT)
    batch.make_set(REFUSED, _NUMBERS[REFUSED], (one, length), (0, 0), 0, counting=True)


def published_rule(batch: Batch, family: Family, chain: str, published: bytes) -> None:
    """What was ``published`` is not theirs, a neighbour's neither."""
    batch.append_rule(chain, _is_confined(family), published, nft.verdict(nft.DROP))


def forward_rules(batch: Batch, family: Family, chain: str, outside: bytes) -> None:
    """What passes the host; ``outside`` goes on only for what leaves by an interface that is no bridge of ours."""
    confined = _is_confined(family)
    source, target = nft.register(0), nft.register(family.words)
    pair = nft.load_source_address(family, source) + nft.load_destination_address(family, target)
    for name in (BLOCKS, HOSTS):
        allowed = pair + nft.member(name, _NUMBERS[name], source)
        batch.append_rule(chain, confined, outside, allowed, nft.verdict(nft.ACCEPT))
    batch.append_rule(chain, _is_confined(family, REFUSED))
    batch.append_rule(chain, confined, nft.verdict(nft.DROP))


def input_rules(batch: Batch, family: Family, chain: str, established: bytes, redirected: bytes) -> None:
    """What goes to the host itself: answers, and names, which alone are ``redirected`` to the host."""
    confined = _is_confined(family)
    conditions = [established, redirected]
    if family is IPV6:  # who may not ask who has an address reaches nobody
        conditions += map(_is_icmp6, (_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT))
    for condition in conditions:
        batch.append_rule(chain, confined, condition, nft.verdict(nft.ACCEPT))
    batch.append_rule(chain, _is_confined(family, REFUSED))
    batch.append_rule(chain, confined, nft.verdict(nft.DROP))


def _is_icmp6(kind: bytes) -> bytes:
    word = nft.register(0)
    return nft.is_icmp6(word) + nft.load_icmp_type(word) + nft.equals(word, kind)


def _is_confined(family: Family, name: str = CONFINED) -> bytes:
    source = nft.register(0)
    return nft.load_source_address(family, source) + nft.member(name, _NUMBERS[name], source)


# --- elements -----------------------------------------------------------------------------------


def elements(endpoint: Endpoint, address: str) -> dict[str, list[Element]]:
    """What a confined endpoint's ``address`` is in its family's sets, what it learns later apart; nothing for another."""
    if endpoint.egress is None:
        return {}
    source = ip_address(address).packed
    blocks = [
        Element(source + block.network_address.packed, end=source + block.broadcast_address.packed)
        for block in collapsed(endpoint.egress, ip_address(address).version)
    ]
    return {CONFINED: [Element(source)], REFUSED: [Element(source)], BLOCKS: blocks}


def learned(address: str, targets: Iterable[str], seconds: int) -> list[Element]:
    """Those of ``targets`` of the family of ``address`` that it may reach for a time."""
    source = ip_address(address).packed
    found = [ip_address(target).packed for target in targets]
    return [
        Element(source + target, timeout=seconds * 1000) for target in found if len(target) == len(source)
    ]


def is_of(element: Element, address: str) -> bool:
    """Whether an element of the pairs' sets is an endpoint's address's."""
    source = ip_address(address).packed
    return element.key[: len(source)] == source


def collapsed(blocks: Iterable[str], version: int = 4) -> list[IPv4Network] | list[IPv6Network]:
    """The blocks of a version among them without overlaps, which a set does not take."""
    networks = [ip_network(block) for block in blocks]
    if version == 6:
        return list(collapse_addresses(net for net in networks if isinstance(net, IPv6Network)))
    return list(collapse_addresses(net for net in networks if isinstance(net, IPv4Network)))
