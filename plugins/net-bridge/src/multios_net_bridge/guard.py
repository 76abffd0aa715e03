"""The source guard: what leaves a container bears its own MAC and address, or is dropped at the bridge.

A table of nftables' family ``bridge``, so that neighbours on the same bridge are protected too. As with the other
table, the rules are constant and containers are elements of sets:

======= =================== ==================================================
set     holds               meaning
======= =================== ==================================================
guarded interface           a container's end on the host: it is guarded
macs    interface . MAC     what it may send as
hosts   interface . address what it may say that it is
hosts6  interface . address the same of IPv6
======= =================== ==================================================
"""

from __future__ import annotations

import errno
import logging
import threading
from ipaddress import ip_interface

from multios.model.network import Endpoint
from multios.netlink.messages import Connection
from multios_net_bridge import nfnetlink as nft
from multios_net_bridge.nfnetlink import IPV4, IPV6, Batch, Element, commit

log = logging.getLogger(__name__)

_CHAIN = "guard"
_PRIORITY = -300  # before anything else looks at the frame
_NAME = 16  # IFNAMSIZ
_INTERFACE, _MAC = nft.INTERFACE_TYPE, nft.MAC_TYPE
_SETS = {
    "guarded": (1, (_INTERFACE, _NAME)),
    "macs": (2, (_INTERFACE << 6 | _MAC, _NAME + 8)),
    "hosts": (3, (_INTERFACE << 6 | IPV4.address_type, _NAME + IPV4.length)),
    "hosts6": (4, (_INTERFACE << 6 | IPV6.address_type, _NAME + IPV6.length)),
}
_IPV4, _ARP, _IPV6 = b"\x08\x00", b"\x08\x06", b"\x86\xdd"
_NEIGHBOUR_ADVERTISEMENT = b"\x88"
_UNSUPPORTED = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)


def make_probe(connection: Connection) -> None:
    """Make and remove an empty table; ``OSError`` when the kernel cannot."""
    batch = Batch("multios-probe", nft.FAMILY_BRIDGE)
    batch.make_table()
    batch.delete_table()
    commit(connection, batch)


class Guard:
    """One engine's guard. On a kernel whose nftables know no bridges it does nothing; the doctor says so."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._connection = Connection(nft.PROTOCOL)
        self._supported = True

    def close(self) -> None:
        """Close the netlink socket; the rules stay."""
        self._connection.close()

    def install(self) -> None:
        """Make the rules whole; what is guarded stays guarded."""
        batch = self._batch()
        batch.make_table()
        batch.make_chain(_CHAIN, "filter", nft.PREROUTING, _PRIORITY)
        batch.clear_rules()
        for name, (number, key) in _SETS.items():
            batch.make_set(name, number, key, (0, 0), 0)
        _rules(batch)
        self._commit(batch)

    def uninstall(self) -> None:
        """Remove the rules; absent ones are no error."""
        batch = self._batch()
        batch.delete_table()
        self._commit_bearing_absence(batch)

    def add(self, endpoint: Endpoint) -> None:
        """Guard an endpoint, before its link is there; again is no error."""
        batch = self._batch()
        for name, element in _elements(endpoint).items():
            batch.add_elements(name, [element])
        self._commit(batch)

    def remove(self, endpoint: Endpoint) -> None:
        """Guard an endpoint no longer; one that is not guarded is no error."""
        batch = self._batch()
        for name, element in _elements(endpoint).items():
            batch.delete_elements(name, [element])
        if self._commit_bearing_absence(batch):
            return
        for name, element in _elements(endpoint).items():  # some are there
            batch = self._batch()
            batch.delete_elements(name, [element])
            self._commit_bearing_absence(batch)

    def _batch(self) -> Batch:
        return Batch(self._table, nft.FAMILY_BRIDGE)

    def _commit_bearing_absence(self, batch: Batch) -> bool:
        try:
            self._commit(batch)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def _commit(self, batch: Batch) -> None:
        with self._lock:
            if not self._supported:
                return
            try:
                commit(self._connection, batch)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                log.warning("this kernel's nftables know no bridges: containers may forge their addresses")
                self._supported = False


def _rules(batch: Batch) -> None:
    name, second = nft.register(0), nft.register(4)
    accept, drop = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
    from_end = nft.load_meta(nft.IIFNAME, name)
    kind = nft.load_ether_type(nft.register(8))

    def is_own(load: bytes, which: str) -> bytes:
        return from_end + load + nft.member(which, _SETS[which][0], name)

    batch.append_rule(_CHAIN, from_end, nft.no_member("guarded", _SETS["guarded"][0], name), accept)
    own_mac = nft.load_source_mac(second)
    batch.append_rule(_CHAIN, from_end, own_mac, nft.no_member("macs", _SETS["macs"][0], name), drop)
    is_ipv4, is_arp, is_ipv6 = (kind + nft.equals(nft.register(8), value) for value in (_IPV4, _ARP, _IPV6))
    batch.append_rule(_CHAIN, is_ipv4, is_own(nft.load_source_address(IPV4, second), "hosts"), accept)
    asks_in_arp = is_arp + is_own(nft.load_arp_sender_mac(second), "macs")
    batch.append_rule(_CHAIN, asks_in_arp, is_own(nft.load_arp_sender_address(second), "hosts"), accept)
    # A probe names no sender yet (RFC 5227, section 2.1.1).
    probe = nft.load_arp_sender_address(second) + nft.equals(second, bytes(4))
    batch.append_rule(_CHAIN, asks_in_arp, probe, accept)
    # Whoever tells where an address is must have it: the rest of neighbour discovery tells of its source only, and
    # routers' messages come from link-local addresses, which nobody has.
    advertises = (
        is_ipv6
        + nft.is_icmp6(nft.register(9))
        + nft.load_icmp_type(nft.register(9))
        + nft.equals(nft.register(9), _NEIGHBOUR_ADVERTISEMENT)
    )
    of_another = (
        from_end + nft.load_advertised_address(second) + nft.no_member("hosts6", _SETS["hosts6"][0], name)
    )
    batch.append_rule(_CHAIN, advertises, of_another, drop)
    batch.append_rule(_CHAIN, is_ipv6, is_own(nft.load_source_address(IPV6, second), "hosts6"), accept)
    batch.append_rule(_CHAIN, drop)


def _elements(endpoint: Endpoint) -> dict[str, Element]:
    name = endpoint.host_interface.encode().ljust(_NAME, b"\0")
    mac = bytes.fromhex(endpoint.mac.replace(":", ""))
    found = {"guarded": Element(name), "macs": Element(name + mac.ljust(8, b"\0"))}
    for which, address in (("hosts", endpoint.address), ("hosts6", endpoint.address6)):
        if address:
            found[which] = Element(name + ip_interface(address).packed)
    return found
