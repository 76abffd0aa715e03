"""Networks: made, found, removed, and what they are to a caller."""

from __future__ import annotations

import ipaddress
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from multios.drivers.base import Capability
from multios.drivers.network import NetworkDriver
from multios.engine import addresses
from multios.engine.caller import Caller
from multios.engine.endpoints import Endpoints, Wanted
from multios.engine.names import Names
from multios.engine.registry import choose_own
from multios.engine.steps import Steps
from multios.errors import Conflict, InvalidInput, Refused, Unsupported, unknown
from multios.model import destination
from multios.model.container import Container, Networking
from multios.model.container_names import check_name
from multios.model.network import Endpoint, Network
from multios.store.database import Database

DEFAULT = "default"
BUILT_IN = ("none", "host")
_MOST_PASSED_OVER = 5


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """What ``network create`` asks for; empty is: chosen by the engine."""

    driver: str = ""
    subnet: str = ""
    gateway: str = ""
    subnet6: str = ""
    gateway6: str = ""
    ip_range: str = ""
    ipv6: bool = False
    internal: bool = False
    isolate: bool = False
    shared: bool = False
    egress_allow: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class Networks:
    """Networks and endpoints. ``driver_of`` gives the driver for a name; making one may be slow, using one is not.

    ``check_one_more("networks", owner, owners of all)`` raises where a quota is full.
    """

    def __init__(
        self,
        database: Database,
        driver_of: Callable[[str], NetworkDriver],
        names: Names,
        default_driver: str,
        default_interface: str,
        default_subnet: str,
        check_one_more: Callable[[str, int, list[int]], None],
    ) -> None:
        self._database = database
        self._driver_of = driver_of
        self._names = names
        self._default_driver = default_driver
        self._default_interface = default_interface
        self._default_subnet = default_subnet
        self._check_one_more = check_one_more
        self._lock = threading.RLock()
        self._networks = {network.id: network for network in database.all(Network)}
        self._ready: set[str] = set()
        self.endpoints = Endpoints(database)

    # --- made and removed ---------------------------------------------------------------------------

    def ensure(self, name: str, caller: Caller) -> Network:
        """The network called ``name``, its host side in place; ``default`` is made when it is absent."""
        with self._lock:
            if name == DEFAULT and not any(network.name == DEFAULT for network in self._networks.values()):
                self._create_default()
            network = self.find(name, caller)
            if network.id not in self._ready:
                self.repair(network)
            return network

    def repair(self, network: Network) -> None:
        """Make the host's side whole, whatever is left of it."""
        with self._lock:
            driver = self.driver(network)
            driver.create_network(network)
            self._serve_names(network, driver)
            self._ready.add(network.id)

    def create(self, name: str, caller: Caller, request: NetworkRequest | None = None) -> Network:
        """Make a network; a free subnet is chosen when none is given. A clash raises ``Conflict`` that names it."""
        check_name("network", name)
        request = request or NetworkRequest()
        with self._lock:
            if name == DEFAULT and not caller.is_administrator:
                raise Refused(f"the network {DEFAULT!r} is the administrator's", "choose another name")
            taken = [network for network in self._networks.values() if network.name == name]
            if name in BUILT_IN or any(
                network.owner == caller.uid or (not caller.is_administrator and is_usable(network, caller))
                for network in taken
            ):
                raise Conflict(f"the network name {name!r} is in use", "choose another name")
            self._check_one_more("networks", caller.uid, self.owners())
            passed_over: list[str] = []
            while True:
                network = self._drafted(name, caller, request, passed_over)
                try:
                    return self._make(network, caller, bool(request.subnet6))
                except Conflict:
                    # Another program may have taken the range since the host's routes were read.
                    if request.subnet or len(passed_over) == _MOST_PASSED_OVER:
                        raise
                    passed_over.append(network.subnet)

    def _make(self, network: Network, caller: Caller, asked_subnet6: bool) -> Network:
        if not caller.is_administrator:
            self._check_ordinary(network, asked_subnet6)
        driver = self.driver(network)
        _check_capable(driver, network)
        with Steps() as steps:
            # The row first: a daemon that is killed in between finds the network again and finishes it.
            steps.do(
                "record",
                lambda: self._database.save(network),
                lambda: self._database.delete(Network, network.id),
            )
            steps.do(
                "create network",
                lambda: driver.create_network(network),
                lambda: driver.delete_network(network),
            )
            steps.do(
                "serve names",
                lambda: self._serve_names(network, driver),
                lambda: self._names.stop(network.id),
            )
        self._networks[network.id] = network
        self._ready.add(network.id)
        return network

    def _drafted(self, name: str, caller: Caller, request: NetworkRequest, passed_over: list[str]) -> Network:
        others = list(self._networks.values())
        subnet, subnet6 = request.subnet, request.subnet6
        if not subnet:
            used = [*passed_over, *(network.subnet for network in others)]
            subnet = addresses.choose_subnet(addresses.DEFAULT_POOLS, used, addresses.host_routes())
        addresses.validate(subnet, request.gateway, request.ip_range or None)
        if request.ipv6 and not subnet6:
            subnet6 = addresses.choose_subnet6(network.subnet6 for network in others if network.subnet6)
        if subnet6:
            addresses.validate6(subnet6, request.gateway6)
        elif request.gateway6:
            raise InvalidInput(f"gateway: {request.gateway6!r} without an IPv6 subnet", "add --ipv6")
        for given in filter(None, (subnet, subnet6)):
            for other in others:
                taken = other.subnet6 if ":" in given else other.subnet
                if taken and addresses.overlap(given, taken):
                    whose = (
                        f"network {other.name!r}" if is_usable(other, caller) else "another user's network"
                    )
                    raise Conflict(f"subnet {given} overlaps {taken} of {whose}", "choose another subnet")
        network_id = os.urandom(32).hex()
        driver = request.driver or self._default_driver
        return Network(
            id=network_id,
            name=name,
            driver=driver,
            subnet=subnet,
            gateway=request.gateway or str(ipaddress.ip_network(subnet)[1]),
            interface=self._interface(name, network_id, driver),
            internal=request.internal,
            options=dict(request.options),
            labels=dict(request.labels),
            owner=caller.uid,
            subnet6=subnet6,
            gateway6=request.gateway6 or (str(ipaddress.ip_network(subnet6)[1]) if subnet6 else ""),
            ip_range=request.ip_range,
            isolate=request.isolate,
            egress=tuple(destination.parse(item) for item in request.egress_allow),
            created=time.time(),
            shared=request.shared,
        )

    def _interface(self, name: str, network_id: str, driver: str) -> str:
        if Capability.NAMES_INSIDE in self._driver_of(driver).capabilities:
            return ""  # the host has nothing of such a network
        return self._default_interface if name == DEFAULT else f"mos-{network_id[:10]}"

    def _check_ordinary(self, network: Network, asked_subnet6: bool) -> None:
        """Raise ``Refused`` for what would give an ordinary user the host's network."""
        refusals = (
            (network.driver != self._default_driver, f"the network driver {network.driver!r}"),
            (bool(network.options), "options of network drivers"),
            (network.shared, "a network for everyone"),
            (
                not addresses.is_in_pools(network.subnet, addresses.DEFAULT_POOLS),
                f"the subnet {network.subnet}, outside {addresses.POOLS_TEXT},",
            ),
            (asked_subnet6, "an IPv6 subnet of one's choice"),
        )
        for asked, what in refusals:
            if asked:
                raise Refused(f"{what} is for administrators", "leave it out, or ask the administrator")

    def _create_default(self) -> None:
        administrator = Caller(os.geteuid(), os.getegid())
        in_use = [*addresses.host_routes(), *(network.subnet for network in self._networks.values())]
        taken = any(addresses.overlap(self._default_subnet, other) for other in in_use)
        self.create(DEFAULT, administrator, NetworkRequest(subnet="" if taken else self._default_subnet))

    def remove(self, name: str, caller: Caller) -> None:
        """Remove a network that no container uses; another user's cannot be removed."""
        with self._lock:
            network = self.find(name, caller)
            if not caller.may_see(network.owner):
                raise Refused(
                    f"network {network.name!r} belongs to another user", "ask its owner or the administrator"
                )
            users = self._database.endpoints(network_id=network.id)
            if users:
                many, they = (
                    (f"{len(users)} running containers", "them")
                    if len(users) > 1
                    else ("a running container", "it")
                )
                raise Conflict(
                    f"network {network.name!r} has {many}",
                    f"disconnect {they}, or stop {they} first: multios-container network inspect {network.name}",
                )
            self._names.stop(network.id)
            self.driver(network).delete_network(network)
            self._database.delete(Network, network.id)
            del self._networks[network.id]
            self._ready.discard(network.id)
            self.endpoints.forget(network)

    # --- found --------------------------------------------------------------------------------------

    def find(self, name: str, caller: Caller) -> Network:
        """A network by name or id prefix, if the caller may see it."""
        if name in BUILT_IN:
            raise Conflict(
                f"{name!r} is no network that containers join and leave, or that can be removed",
                f"choose it when a container is made: --network {name}",
            )
        mine = self.visible(caller)
        called = [network for network in mine if network.name == name]
        if network := choose_own(called, caller):
            return network
        if called:
            raise Conflict(
                f"{len(called)} users have a network {name!r}", "name it by its id, see `network list`"
            )
        found = [network for network in mine if len(name) >= 4 and network.id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise Conflict(
                f"{len(found)} networks have an id that begins with {name!r}", "give more of the id"
            )
        names = sorted({DEFAULT, *BUILT_IN, *(network.name for network in mine)})
        raise unknown("network", name, names, "see `multios-container network list`")

    def owners(self) -> list[int]:
        """The owner of every network."""
        return [network.owner for network in list(self._networks.values())]

    def visible(self, caller: Caller) -> list[Network]:
        """The networks that a caller may see and use: their own, shared ones, and the default one."""
        return [network for network in list(self._networks.values()) if is_usable(network, caller)]

    def is_named_by(self, network: Network, container: Container) -> bool:
        """Whether a container, running or not, wants to be on this network."""
        names, owner = container.config.networking.networks, Caller(container.owner, container.owner)
        return network.name in names and is_usable(network, owner)

    def resolved(self, networking: Networking, caller: Caller) -> Networking:
        """The same with each network's own name instead of its id; ``NotFound`` for what is none. Makes nothing."""
        if networking.shared_with:
            return networking
        own = {
            name: name if name in (DEFAULT, *BUILT_IN) else self.find(name, caller).name
            for name in networking.networks
        }
        attachments = {own.get(name, name): item for name, item in networking.attachments.items()}
        return replace(networking, networks=tuple(dict.fromkeys(own.values())), attachments=attachments)

    def check_driver(self, driver: str, networking: Networking, caller: Caller) -> None:
        """Raise ``InvalidInput`` for a network that another driver than ``driver`` serves: a container has no driver of its own."""
        for name in networking.networks:
            if name in BUILT_IN:
                continue
            made = [network.driver for network in list(self._networks.values()) if network.name == DEFAULT]
            served = (
                (made or [self._default_driver])[0] if name == DEFAULT else self.find(name, caller).driver
            )
            if served != driver:
                raise InvalidInput(
                    f"network {name!r} is one of the driver {served!r}, not {driver!r}",
                    f"make one: multios-container network create --driver {driver} NAME, and use --network NAME",
                )

    def row(self, network: Network) -> dict[str, Any]:
        """One network with its endpoints."""
        return {
            "id": network.id,
            "name": network.name,
            "owner": network.owner,
            "driver": network.driver,
            "subnet": network.subnet,
            "gateway": network.gateway,
            "subnet6": network.subnet6,
            "gateway6": network.gateway6,
            "ip_range": network.ip_range,
            "interface": network.interface,
            "internal": network.internal,
            "isolate": network.isolate,
            "shared": network.shared,
            "egress_allow": list(network.egress),
            "options": dict(network.options),
            "labels": dict(network.labels),
            "created": network.created,
            "endpoints": [
                {
                    "container": item.container_id,
                    "address": item.address,
                    "address6": item.address6,
                    "mac": item.mac,
                    "interface": item.interface,
                }
                for item in self._database.endpoints(network_id=network.id)
            ],
        }

    def driver(self, network: Network) -> NetworkDriver:
        """The driver that serves a network."""
        return self._driver_of(network.driver)

    def has_gateway(self, network: Network) -> bool:
        """Whether names are served at its gateway."""
        return Capability.GATEWAY in self.driver(network).capabilities

    def has_names_inside(self, network: Network) -> bool:
        """Whether names are served inside its containers."""
        return Capability.NAMES_INSIDE in self.driver(network).capabilities

    def has_names(self, network: Network) -> bool:
        """Whether names are served at all."""
        return self.has_gateway(network) or self.has_names_inside(network)

    def _serve_names(self, network: Network, driver: NetworkDriver) -> None:
        if Capability.GATEWAY in driver.capabilities:
            driver.serve_names(network, self._names.serve(network))

    # --- endpoints ----------------------------------------------------------------------------------

    def reserve(self, network: Network, wanted: Wanted) -> Endpoint:
        """An endpoint for a container, recorded before it is used; ``Conflict`` when the network has just gone."""
        driver = self.driver(network)
        _check_capable_of_endpoint(driver, network, wanted)
        has_mac = Capability.PARENTS_MAC not in driver.capabilities
        if wanted.attachment.mac and not has_mac:
            raise Unsupported(
                f"network driver {driver.name!r} has no MACs of one's choice", "use macvlan, or leave it out"
            )
        with self._lock:
            if self._networks.get(network.id) != network:
                raise Conflict(f"network {network.name!r} has just been removed", "create it again")
            return self.endpoints.reserve(network, wanted, has_mac)

    def release(self, endpoint: Endpoint) -> None:
        """Give an endpoint's address back; absent is no error."""
        with self._lock:
            self.endpoints.release(endpoint)

    def endpoints_of(self, container_id: str) -> list[tuple[Network, Endpoint]]:
        """Where a container is attached, its first interface first."""
        by_id = {network.id: network for network in list(self._networks.values())}
        found = [
            (by_id[endpoint.network_id], endpoint)
            for endpoint in self._database.endpoints(container_id=container_id)
            if endpoint.network_id in by_id
        ]
        return sorted(found, key=lambda pair: (len(pair[1].interface), pair[1].interface))

    def endpoint(self, endpoint_id: str) -> tuple[Network, Endpoint] | None:
        """An endpoint by its id, with its network."""
        with self._lock:
            endpoint = self.endpoints.find(endpoint_id)
            networks = {network.id: network for network in self._networks.values()}
        if endpoint is None or endpoint.network_id not in networks:
            return None
        return networks[endpoint.network_id], endpoint


def is_usable(network: Network, caller: Caller) -> bool:
    """Whether a caller may see and use a network."""
    return network.name == DEFAULT or network.shared or caller.may_see(network.owner)


def _check_capable(driver: NetworkDriver, network: Network) -> None:
    _refuse(
        driver,
        (Capability.IPV6, bool(network.subnet6), "IPv6"),
        (Capability.INTERNAL, network.internal, "internal networks"),
        (Capability.ISOLATE, network.isolate, "isolated networks"),
        (Capability.EGRESS, bool(network.egress), "egress allow-lists"),
    )


def _check_capable_of_endpoint(driver: NetworkDriver, network: Network, wanted: Wanted) -> None:
    networking = wanted.container.config.networking
    _refuse(
        driver,
        (Capability.EGRESS, bool(networking.egress_allow), "egress allow-lists"),
        (Capability.BANDWIDTH, bool(networking.bandwidth_in or networking.bandwidth_out), "bandwidth limits"),
    )


def _refuse(driver: NetworkDriver, *asked: tuple[Capability, bool, str]) -> None:
    for capability, is_asked, what in asked:
        if is_asked and capability not in driver.capabilities:
            raise Unsupported(f"network driver {driver.name!r} has no {what}", "use the bridge driver")
