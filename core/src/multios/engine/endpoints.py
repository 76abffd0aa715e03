"""Endpoints: which container has which address on which network, no address twice."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

from multios.engine import addresses
from multios.errors import Conflict, InvalidInput
from multios.model import destination
from multios.model.container import Attachment, Container
from multios.model.network import Endpoint, Network
from multios.store.database import Database


@dataclass(frozen=True, slots=True)
class Wanted:
    """A place that a container wants on a network."""

    container: Container
    interface: str
    attachment: Attachment


class Endpoints:
    """Reserved and released in the database; what is in use is held in memory too. Calls come under one lock."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.used: dict[str, dict[str, Endpoint]] = {}
        """Endpoints by network id and IPv4 address without prefix length."""
        self._last: dict[str, str] = {}
        for endpoint in database.endpoints():
            self.used.setdefault(endpoint.network_id, {})[_bare(endpoint.address)] = endpoint

    def reserve(self, network: Network, wanted: Wanted, has_mac: bool = True) -> Endpoint:
        """An endpoint with an address, and unless its driver chooses it a MAC, of its own; recorded before it is used."""
        used = self.used.setdefault(network.id, {})
        address = self._address(network, wanted.attachment.address, used)
        networking = wanted.container.config.networking
        endpoint_id = os.urandom(16).hex()
        prefix = network.subnet.partition("/")[2]
        endpoint = Endpoint(
            id=endpoint_id,
            container_id=wanted.container.id,
            network_id=network.id,
            address=f"{address}/{prefix}",
            gateway=network.gateway,
            mac=self._mac(network, wanted.attachment.mac, address, list(used.values())) if has_mac else "",
            interface=wanted.interface,
            host_interface=f"mv{endpoint_id[:12]}",
            address6=self._address6(network, wanted.attachment.address6, address, list(used.values())),
            gateway6=network.gateway6,
            egress=_blocks(confinement(network, wanted.container)),
            bandwidth_in=networking.bandwidth_in or 0,
            bandwidth_out=networking.bandwidth_out or 0,
        )
        self._database.add_endpoint(endpoint)
        used[address] = endpoint
        return endpoint

    def release(self, endpoint: Endpoint) -> None:
        """Give an endpoint's address back; absent is no error."""
        self._database.delete_endpoint(endpoint.id)
        self.used.get(endpoint.network_id, {}).pop(_bare(endpoint.address), None)

    def forget(self, network: Network) -> None:
        """The network is gone."""
        self.used.pop(network.id, None)
        self._last.pop(network.id, None)

    def find(self, endpoint_id: str) -> Endpoint | None:
        """An endpoint by its id."""
        return next(
            (
                item
                for used in list(self.used.values())
                for item in list(used.values())
                if item.id == endpoint_id
            ),
            None,
        )

    def _address(self, network: Network, wanted: str, taken: dict[str, Endpoint]) -> str:
        if wanted:
            subnet = ipaddress.IPv4Network(network.subnet)
            if ipaddress.ip_address(wanted) not in subnet:
                raise InvalidInput(f"address {wanted} is outside {network.subnet}", "choose one inside")
            if wanted in (str(subnet.network_address), str(subnet.broadcast_address)):
                raise InvalidInput(f"address {wanted} is no host's in {network.subnet}", "choose another")
            if wanted in taken or wanted == network.gateway:
                raise Conflict(f"address {wanted} is in use on {network.name!r}", "choose another")
            return wanted
        chosen = addresses.choose_address(
            network.subnet,
            network.gateway,
            taken,
            ip_range=network.ip_range or None,
            last=self._last.get(network.id, ""),
        )
        self._last[network.id] = chosen
        return chosen

    def _address6(self, network: Network, wanted: str, address: str, others: list[Endpoint]) -> str:
        if not network.subnet6:
            if wanted:
                raise InvalidInput(
                    f"address {wanted}: network {network.name!r} has no IPv6", "create it with --ipv6"
                )
            return ""
        subnet = ipaddress.IPv6Network(network.subnet6)
        taken = [_bare(item.address6) for item in others]
        if wanted:
            if ipaddress.ip_address(wanted) not in subnet:
                raise InvalidInput(f"address {wanted} is outside {network.subnet6}", "choose one inside")
            if wanted in taken or wanted in (network.gateway6, str(subnet.network_address)):
                raise Conflict(f"address {wanted} is in use on {network.name!r}", "choose another")
            chosen = wanted
        else:
            first = int(ipaddress.IPv4Network(network.subnet).network_address)
            number = int(ipaddress.IPv4Address(address)) - first
            chosen = addresses.choose_address6(network.subnet6, network.gateway6, taken, number)
        return f"{chosen}/{subnet.prefixlen}"

    def _mac(self, network: Network, wanted: str, address: str, others: list[Endpoint]) -> str:
        mac = wanted or addresses.mac_for(address)
        if any(item.mac == mac for item in others):
            raise Conflict(f"MAC {mac} is in use on {network.name!r}", "choose another")
        return mac


def confinement(network: Network, container: Container) -> tuple[str, ...]:
    """What a container may reach by a network, empty for everything.

    A container may narrow what its network allows; more is ``InvalidInput``.
    """
    own = container.config.networking.egress_allow
    for item in own if network.egress else ():
        if not destination.covers(network.egress, item):
            raise InvalidInput(
                f"network {network.name!r} does not allow {item!r}",
                f"it allows {', '.join(network.egress)}",
            )
    return own or network.egress


def _blocks(allowed: tuple[str, ...]) -> tuple[str, ...] | None:
    return destination.blocks(allowed) if allowed else None


def _bare(address: str) -> str:
    return address.partition("/")[0]
