"""The source guard: what leaves a container bears its own MAC and address, or is dropped at the bridge.

A table of nftables' family ``bridge``, so that neighbours on the same bridge are protected too. As with the other
table, the rules are constant and containers are elements of sets:

======== =========================== ==================================================
set      holds                       meaning
======== =========================== ==================================================
guarded  interface                   a container's end on the host: it is guarded
macs     interface . MAC             what it may send as
senders  interface . MAC . address   what it may say that it is, in IPv4 and ARP
senders6 interface . MAC . address   the same of IPv6
======== =========================== ==================================================
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
    "senders": (3, (_INTERFACE << 12 | _MAC << 6 | IPV4.address_type, _NAME + 8 + IPV4.length)),
    "senders6": (4, (_INTERFACE << 12 | _MAC << 6 | IPV6.address_type, _NAME + 8 + IPV6.length)),
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
    name, mac, address, spare = nft.register(0), nft.register(4), nft.register(6), nft.register(10)
    accept, drop = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
    from_end = nft.load_meta(nft.IIFNAME, name)

    def is_kind(value: bytes) -> bytes:
        return nft.load_ether_type(spare) + nft.equals(spare, value)

    def in_set(which: str) -> bytes:
        return nft.member(which, _SETS[which][0], name)

    def not_in_set(which: str) -> bytes:
        return nft.no_member(which, _SETS[which][0], name)

    sender = from_end + nft.load_source_mac(mac)
    # Nearly every frame is of this kind, so it is looked up first, and once.
    ipv4 = is_kind(_IPV4) + sender + nft.load_source_address(IPV4, address) + in_set("senders")
    batch.append_rule(_CHAIN, ipv4, accept)
    batch.append_rule(_CHAIN, from_end, not_in_set("guarded"), accept)

    # Whoever tells where an address is must have it: the rest of neighbour discovery tells of its source only, and
    # routers' messages come from link-local addresses, which nobody has.
    advertises = nft.is_icmp6(spare) + nft.load_icmp_type(spare) + nft.equals(spare, _NEIGHBOUR_ADVERTISEMENT)
    of_its_own = sender + nft.load_advertised_address(address) + in_set("senders6")
    batch.append_rule(_CHAIN, is_kind(_IPV6), advertises, of_its_own, accept)
    # Also one whose address stands in a later fragment, where it could not be read.
    batch.append_rule(_CHAIN, is_kind(_IPV6), advertises, drop)
    ipv6 = is_kind(_IPV6) + sender + nft.load_source_address(IPV6, address) + in_set("senders6")
    batch.append_rule(_CHAIN, ipv6, accept)

    arp = is_kind(_ARP) + sender + in_set("macs") + nft.load_arp_sender_mac(mac)
    batch.append_rule(_CHAIN, arp, nft.load_arp_sender_address(address), in_set("senders"), accept)
    # A probe names no sender yet (RFC 5227, section 2.1.1).
    probe = in_set("macs") + nft.load_arp_sender_address(address) + nft.equals(address, bytes(4))
    batch.append_rule(_CHAIN, arp, probe, accept)
    batch.append_rule(_CHAIN, drop)


def _elements(endpoint: Endpoint) -> dict[str, Element]:
    name = endpoint.host_interface.encode().ljust(_NAME, b"\0")
    mac = bytes.fromhex(endpoint.mac.replace(":", ""))
    sender = name + mac.ljust(8, b"\0")
    found = {"guarded": Element(name), "macs": Element(sender)}
    for which, address in (("senders", endpoint.address), ("senders6", endpoint.address6)):
        if address:
            found[which] = Element(sender + ip_interface(address).packed)
    return found
