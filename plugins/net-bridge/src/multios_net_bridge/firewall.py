"""Keeping our table in the kernel: networks come and go, ports are published and withdrawn."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable
from ipaddress import IPv4Network

from multios.model.network import Endpoint
from multios_net_bridge import confinement, nfnetlink, ruleset
from multios_net_bridge.netlink import Connection
from multios_net_bridge.nfnetlink import Batch, Element, commit, read_elements

Forwards = Iterable[tuple[str, Element]]


class Firewall:
    """One nftables table. Every change is one atomic batch; the kernel is the only memory."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._lock = threading.Lock()
        self._connection = Connection(nfnetlink.PROTOCOL)

    def close(self) -> None:
        """Close the netlink socket; the rules stay."""
        self._connection.close()

    def add_network(
        self, interface: str, subnet: str, internal: bool, isolate: bool, masquerade: bool
    ) -> None:
        """Make the table's rules whole and put the network into its sets, whatever was there before."""
        wanted = ruleset.membership(interface, subnet, internal, isolate, masquerade)
        with self._lock:
            batch = Batch(self.table)
            ruleset.install(batch)
            for name, (elements, belongs) in wanted.items():
                there = self._holds(name, elements)
                if belongs and not there:
                    batch.add_elements(name, elements)
                elif there and not belongs:
                    batch.delete_elements(name, elements)
            commit(self._connection, batch)

    def remove_network(self, interface: str, subnet: str) -> None:
        """Take the network and the ports published into it away; with the last one the table goes."""
        wanted = ruleset.membership(interface, subnet, False, False, True)
        with self._lock:
            bridges = read_elements(self._connection, self.table, "bridges")
            batch = Batch(self.table)
            if not bridges - set(wanted["bridges"][0]):
                batch.delete_table()
            else:
                for name in ruleset.SETS:
                    if name in ruleset.MAPS:
                        batch.delete_elements(name, self._into(name, IPv4Network(subnet)))
                    elif self._holds(name, wanted[name][0]):
                        batch.delete_elements(name, wanted[name][0])
            try:
                commit(self._connection, batch)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise

    def confine(self, endpoint: Endpoint) -> None:
        """Let an endpoint reach only what it is allowed; again is no error, and nothing is done for one that may all."""
        batch = Batch(self.table)
        for name, elements in confinement.elements(endpoint).items():
            batch.add_elements(name, elements)
        with self._lock:
            commit(self._connection, batch)

    def permit(self, endpoint: Endpoint, addresses: Iterable[str], seconds: int) -> None:
        """Let a confined endpoint reach addresses for a time, which begins anew if they are permitted already."""
        elements = confinement.learned(endpoint, addresses, seconds)
        batch = Batch(self.table)
        batch.add_elements(confinement.HOSTS, elements)  # so that there is one to delete
        batch.delete_elements(confinement.HOSTS, [Element(item.key) for item in elements])
        batch.add_elements(confinement.HOSTS, elements)
        with self._lock:
            commit(self._connection, batch)

    def release(self, endpoint: Endpoint) -> None:
        """Forget that an endpoint was confined, and what it learned; what is absent is no error."""
        if endpoint.egress is None:
            return
        with self._lock:
            batch = Batch(self.table)
            for name in (confinement.HOSTS, confinement.BLOCKS):
                present = read_elements(self._connection, self.table, name)
                batch.delete_elements(name, [item for item in present if confinement.is_of(item, endpoint)])
            own = confinement.elements(endpoint)[confinement.CONFINED]
            if self._holds(confinement.CONFINED, own):
                batch.delete_elements(confinement.CONFINED, own)
            commit(self._connection, batch)

    def has_any_network(self) -> bool:
        """Whether the table knows one."""
        return bool(read_elements(self._connection, self.table, "bridges"))

    def has_network(self, interface: str, subnet: str) -> bool:
        """Whether the table knows the network."""
        wanted = ruleset.membership(interface, subnet, False, False, False)
        return all(self._holds(name, wanted[name][0]) for name in ("bridges", "subnets"))

    def publish(self, forwards: Forwards) -> None:
        """Add published ports, all or none; one that leads elsewhere already raises ``OSError`` (EEXIST or EBUSY)."""
        batch = Batch(self.table)
        for name, elements in _by_map(forwards).items():
            batch.add_elements(name, elements)
        with self._lock:
            commit(self._connection, batch)

    def replace(self, forwards: Forwards) -> None:
        """Publish ports, wherever they led before."""
        batch = Batch(self.table)
        with self._lock:
            for name, elements in _by_map(forwards).items():
                keys = {item.key for item in elements}
                present = read_elements(self._connection, self.table, name)
                batch.delete_elements(name, [item for item in present if item.key in keys])
                batch.add_elements(name, elements)
            commit(self._connection, batch)

    def unpublish(self, forwards: Forwards) -> None:
        """Take published ports away; absent ones, and ones that lead elsewhere by now, are left alone."""
        wanted = _by_map(forwards)
        with self._lock:
            batch = Batch(self.table)
            for name, elements in wanted.items():
                batch.delete_elements(name, elements)
            try:
                commit(self._connection, batch)
                return
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):
                    raise
            # Some are absent: only now is it worth asking which.
            batch = Batch(self.table)
            for name, elements in wanted.items():
                present = read_elements(self._connection, self.table, name)
                batch.delete_elements(name, [item for item in elements if item in present])
            commit(self._connection, batch)

    def withdraw(self, address: str) -> None:
        """Take away every port that is published to a container's address."""
        with self._lock:
            batch = Batch(self.table)
            for name in ruleset.MAPS:
                batch.delete_elements(name, self._into(name, IPv4Network(address)))
            commit(self._connection, batch)

    def _holds(self, name: str, elements: list[Element]) -> bool:
        return set(elements) <= read_elements(self._connection, self.table, name)

    def _into(self, name: str, subnet: IPv4Network) -> list[Element]:
        present = read_elements(self._connection, self.table, name)
        return [item for item in present if ruleset.leads_to(item, subnet)]


def _by_map(forwards: Forwards) -> dict[str, list[Element]]:
    found: dict[str, list[Element]] = {}
    for name, element in forwards:
        found.setdefault(name, []).append(element)
    return found
