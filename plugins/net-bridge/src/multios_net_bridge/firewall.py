"""Keeping our tables in the kernel: networks come and go, ports are published and withdrawn."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network

from multios.model.network import Endpoint, Network
from multios.netlink.messages import Connection
from multios_net_bridge import confinement, nfnetlink, ruleset
from multios_net_bridge.nfnetlink import (
    IPV4,
    IPV6,
    Batch,
    Element,
    Family,
    commit,
    read_counts,
    read_elements,
)
from multios_net_bridge.ruleset import Forward

Forwards = Iterable[Forward]


class Firewall:
    """An nftables table a family, of one name. Every change is one transaction; the kernel is the only memory.

    The table for IPv6 is there only while a network has IPv6.
    """

    def __init__(self, table: str) -> None:
        self.table = table
        self._lock = threading.Lock()
        self._connection = Connection(nfnetlink.PROTOCOL)

    def close(self) -> None:
        """Close the netlink socket; the rules stay."""
        self._connection.close()

    # --- networks -----------------------------------------------------------------------------------

    def add_network(self, network: Network, isolate: bool, masquerade: bool, from_loopback6: bool) -> None:
        """Make the tables' rules whole and put the network into their sets, whatever was there before."""
        batches = []
        with self._lock:
            for family, subnet in _subnets(network):
                batch = self._batch(family)
                ruleset.install(batch, family, family is IPV4 or from_loopback6)
                wanted = ruleset.membership(network.interface, subnet, network.internal, isolate, masquerade)
                for name, (elements, belongs) in wanted.items():
                    there = self._holds(family, name, elements)
                    if belongs and not there:
                        batch.add_elements(name, elements)
                    elif there and not belongs:
                        batch.delete_elements(name, elements)
                batches.append(batch)
            commit(self._connection, *batches)

    def remove_network(self, network: Network) -> None:
        """Take the network and the ports published into it away; with the last one of a family its table goes."""
        for family, subnet in _subnets(network):
            with self._lock:
                batch = self._leaving(family, network.interface, subnet)
                try:
                    commit(self._connection, batch)
                except OSError as error:
                    if error.errno != errno.ENOENT:
                        raise

    def _leaving(self, family: Family, interface: str, subnet: str) -> Batch:
        wanted = ruleset.membership(interface, subnet, False, False, True)
        batch = self._batch(family)
        if not self._read(family, "bridges") - set(wanted["bridges"][0]):
            batch.delete_table()
            return batch
        for name in ruleset.SETS:
            if name in ruleset.MAPS:
                batch.delete_elements(name, self._into(family, name, subnet))
            elif self._holds(family, name, wanted[name][0]):
                batch.delete_elements(name, wanted[name][0])
        return batch

    def has_any_network(self) -> bool:
        """Whether the tables know one."""
        return bool(self._read(IPV4, "bridges"))

    def has_network(self, network: Network) -> bool:
        """Whether the tables know the network."""
        for family, subnet in _subnets(network):
            wanted = ruleset.membership(network.interface, subnet, False, False, False)
            if not all(self._holds(family, name, wanted[name][0]) for name in ("bridges", "subnets")):
                return False
        return True

    def sets_with(self, network: Network) -> frozenset[str]:
        """The names of those sets of the table for IPv4 that the network is in."""
        wanted = ruleset.membership(network.interface, network.subnet, False, False, False)
        return frozenset(name for name, (items, _) in wanted.items() if self._holds(IPV4, name, items))

    def published_to(self, endpoint: Endpoint) -> list[Forward]:
        """The ports that lead to an endpoint's IPv4 address."""
        address = endpoint.address.partition("/")[0]
        return [
            Forward(IPV4, name, item) for name in ruleset.MAPS for item in self._into(IPV4, name, address)
        ]

    # --- confined endpoints -------------------------------------------------------------------------

    def confine(self, endpoint: Endpoint) -> None:
        """Let an endpoint reach only what it is allowed; again is no error, and nothing is done for one that may all."""
        batches = []
        for family, address in _addresses(endpoint):
            batch = self._batch(family)
            for name, elements in confinement.elements(endpoint, address).items():
                batch.add_elements(name, elements)
            batches.append(batch)
        with self._lock:
            commit(self._connection, *batches)

    def permit(self, endpoint: Endpoint, targets: Iterable[str], seconds: int) -> None:
        """Let a confined endpoint reach addresses for a time, which begins anew if they are permitted already."""
        batches = []
        for family, address in _addresses(endpoint):
            elements = confinement.learned(address, targets, seconds)
            batch = self._batch(family)
            batch.add_elements(confinement.HOSTS, elements)  # so that there is one to delete
            batch.delete_elements(confinement.HOSTS, [Element(item.key) for item in elements])
            batch.add_elements(confinement.HOSTS, elements)
            batches.append(batch)
        with self._lock:
            commit(self._connection, *batches)

    def release(self, endpoint: Endpoint) -> None:
        """Forget that an endpoint was confined, and what it learned; what is absent is no error."""
        if endpoint.egress is None:
            return
        with self._lock:
            for family, address in _addresses(endpoint):
                batch = self._batch(family)
                for name in (confinement.HOSTS, confinement.BLOCKS):
                    present = self._read(family, name)
                    batch.delete_elements(
                        name, [item for item in present if confinement.is_of(item, address)]
                    )
                own = confinement.elements(endpoint, address)
                for name in (confinement.CONFINED, confinement.REFUSED):
                    if self._holds(family, name, own[name]):
                        batch.delete_elements(name, own[name])
                commit(self._connection, batch)

    def refused(self, endpoint: Endpoint) -> int:
        """How many packets of a confined endpoint were dropped since it was confined."""
        total = 0
        with self._lock:
            for family, address in _addresses(endpoint):
                counts = read_counts(self._connection, self.table, confinement.REFUSED, family.number)
                total += counts.get(ip_address(address).packed, 0)
        return total

    # --- published ports ----------------------------------------------------------------------------

    def publish(self, forwards: Forwards) -> None:
        """Add published ports, all or none; one that leads elsewhere already raises ``OSError`` (EEXIST or EBUSY)."""
        with self._lock:
            commit(self._connection, *self._changing(forwards, Batch.add_elements))

    def replace(self, forwards: Forwards) -> None:
        """Publish ports, wherever they led before."""
        with self._lock:
            batches = []
            for family, by_map in _by_family(forwards):
                batch = self._batch(family)
                for name, elements in by_map.items():
                    keys = {item.key for item in elements}
                    present = self._read(family, name)
                    batch.delete_elements(name, [item for item in present if item.key in keys])
                    batch.add_elements(name, elements)
                batches.append(batch)
            commit(self._connection, *batches)

    def unpublish(self, forwards: Forwards) -> None:
        """Take published ports away; absent ones, and ones that lead elsewhere by now, are left alone."""
        with self._lock:
            try:
                commit(self._connection, *self._changing(forwards, Batch.delete_elements))
                return
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):
                    raise
            # Some are absent: only now is it worth asking which.
            there = [item for item in forwards if item.element in self._read(item.family, item.map)]
            commit(self._connection, *self._changing(there, Batch.delete_elements))

    def withdraw(self, endpoint: Endpoint) -> None:
        """Take away every port that is published to a container's addresses."""
        with self._lock:
            for family, address in _addresses(endpoint):
                batch = self._batch(family)
                for name in ruleset.MAPS:
                    batch.delete_elements(name, self._into(family, name, address))
                commit(self._connection, batch)

    # --- details ------------------------------------------------------------------------------------

    def _changing(
        self, forwards: Forwards, change: Callable[[Batch, str, list[Element]], None]
    ) -> list[Batch]:
        batches = []
        for family, by_map in _by_family(forwards):
            batch = self._batch(family)
            for name, elements in by_map.items():
                change(batch, name, elements)
            batches.append(batch)
        return batches

    def _batch(self, family: Family) -> Batch:
        return Batch(self.table, family.number)

    def _read(self, family: Family, name: str) -> set[Element]:
        return read_elements(self._connection, self.table, name, family.number)

    def _holds(self, family: Family, name: str, elements: list[Element]) -> bool:
        return set(elements) <= self._read(family, name)

    def _into(self, family: Family, name: str, subnet: str) -> list[Element]:
        return [item for item in self._read(family, name) if ruleset.leads_to(item, ip_network(subnet))]


def _subnets(network: Network) -> Iterator[tuple[Family, str]]:
    yield IPV4, network.subnet
    if network.subnet6:
        yield IPV6, network.subnet6


def _addresses(endpoint: Endpoint) -> Iterator[tuple[Family, str]]:
    yield IPV4, endpoint.address.partition("/")[0]
    if endpoint.address6:
        yield IPV6, endpoint.address6.partition("/")[0]


def _by_family(forwards: Forwards) -> Iterator[tuple[Family, dict[str, list[Element]]]]:
    found: dict[Family, dict[str, list[Element]]] = {}
    for item in forwards:
        found.setdefault(item.family, {}).setdefault(item.map, []).append(item.element)
    yield from found.items()
