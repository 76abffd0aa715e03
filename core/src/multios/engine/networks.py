"""Networks, the addresses of containers on them, and the files that tell a container about its network."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from multios.drivers.network import NetworkDriver
from multios.engine import addresses
from multios.engine.caller import Caller
from multios.engine.steps import Steps
from multios.errors import Conflict, InvalidInput, Refused, unknown
from multios.model.container import Container
from multios.model.container_document import check_name
from multios.model.network import Endpoint, Network, PortMapping
from multios.store.database import Database

DEFAULT = "default"
BUILT_IN = ("none", "host")
FALLBACK_RESOLVERS = ("1.1.1.1", "8.8.8.8")


class Networks:
    """Networks and endpoints. ``driver_of`` gives the driver for a name; making one may be slow, using one is not."""

    def __init__(
        self,
        database: Database,
        driver_of: Callable[[str], NetworkDriver],
        default_driver: str,
        default_interface: str,
        default_subnet: str,
    ) -> None:
        self._database = database
        self._driver_of = driver_of
        self._default_driver = default_driver
        self._default_interface = default_interface
        self._default_subnet = default_subnet
        self._lock = threading.RLock()
        self._networks = {network.name: network for network in database.all(Network)}
        self._used: dict[str, dict[str, str]] = {}
        self._last: dict[str, str] = {}
        self._ready: set[str] = set()
        for endpoint in database.endpoints():
            self._used.setdefault(endpoint.network_id, {})[endpoint.address] = endpoint.container_id

    # --- networks ---------------------------------------------------------------------------------

    def ensure(self, name: str, caller: Caller) -> Network:
        """The network called ``name``, its host side in place; ``default`` is made when it is absent."""
        with self._lock:
            if name == DEFAULT and DEFAULT not in self._networks:
                self._create_default()
            network = self.find(name, caller)
            if network.id not in self._ready:
                self.driver(network).create_network(network)
                self._ready.add(network.id)
            return network

    def create(
        self,
        name: str,
        caller: Caller,
        driver: str = "",
        subnet: str = "",
        gateway: str = "",
        internal: bool = False,
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Network:
        """Make a network; a free subnet is chosen when none is given. A clash raises ``Conflict`` that names it."""
        check_name("network", name)
        with self._lock:
            if name == DEFAULT and not caller.is_administrator:
                raise Refused(f"the network {DEFAULT!r} is the administrator's", "choose another name")
            if name in self._networks or name in BUILT_IN:
                raise Conflict(f"the network name {name!r} is in use", "choose another name")
            used = [network.subnet for network in self._networks.values()]
            if not subnet:
                subnet = addresses.choose_subnet(addresses.DEFAULT_POOLS, used, addresses.host_routes())
            addresses.validate(subnet, gateway, "")
            clash = next((other for other in self._networks.values() if _overlap(subnet, other.subnet)), None)
            if clash:
                raise Conflict(
                    f"subnet {subnet} overlaps {clash.subnet} of network {clash.name!r}",
                    "choose another subnet",
                )
            network_id = os.urandom(32).hex()
            network = Network(
                id=network_id,
                name=name,
                driver=driver or self._default_driver,
                subnet=subnet,
                gateway=gateway or str(ipaddress.ip_network(subnet)[1]),
                interface=self._default_interface if name == DEFAULT else f"mos-{network_id[:10]}",
                internal=internal,
                options=dict(options or {}),
                labels=dict(labels or {}),
                owner=caller.uid,
            )
            driver_ = self.driver(network)
            with Steps() as steps:
                # The row first: a daemon that is killed in between finds the network again and finishes it.
                steps.do(
                    "record",
                    lambda: self._database.save(network),
                    lambda: self._database.delete(Network, network.id),
                )
                steps.do(
                    "create network",
                    lambda: driver_.create_network(network),
                    lambda: driver_.delete_network(network),
                )
            self._networks[name] = network
            self._ready.add(network.id)
            return network

    def _create_default(self) -> None:
        administrator = Caller(os.geteuid(), os.getegid())
        in_use = [*addresses.host_routes(), *(network.subnet for network in self._networks.values())]
        taken = any(_overlap(self._default_subnet, str(other)) for other in in_use)
        self.create(DEFAULT, administrator, subnet="" if taken else self._default_subnet)

    def remove(self, name: str, caller: Caller) -> None:
        """Remove a network that no container uses; another user's cannot be removed."""
        with self._lock:
            network = self.find(name, caller)
            if not caller.may_see(network.owner):
                raise Refused(
                    f"network {name!r} belongs to another user", "ask its owner or the administrator"
                )
            users = self._database.endpoints(network_id=network.id)
            if users:
                raise Conflict(f"network {name!r} has {len(users)} running containers", "stop them first")
            self.driver(network).delete_network(network)
            self._database.delete(Network, network.id)
            del self._networks[network.name]
            self._ready.discard(network.id)
            self._used.pop(network.id, None)
            self._last.pop(network.id, None)

    def find(self, name: str, caller: Caller) -> Network:
        """A network by name or id prefix. The default one is everyone's; others are their owner's."""
        mine = [
            network
            for network in list(self._networks.values())
            if network.name == DEFAULT or caller.may_see(network.owner)
        ]
        for network in mine:
            if network.name == name:
                return network
        found = [network for network in mine if len(name) >= 4 and network.id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise Conflict(
                f"{len(found)} networks have an id that begins with {name!r}", "give more of the id"
            )
        raise unknown("network", name, self._names(caller), "see `multios-container network list`")

    def check_known(self, names: tuple[str, ...], caller: Caller) -> None:
        """Raise ``NotFound`` for a name that is no network; makes nothing."""
        for name in names:
            if name not in (DEFAULT, *BUILT_IN):
                self.find(name, caller)

    def _names(self, caller: Caller) -> list[str]:
        mine = [network.name for network in list(self._networks.values()) if caller.may_see(network.owner)]
        return sorted({DEFAULT, *BUILT_IN, *mine})

    def rows(self, caller: Caller) -> list[dict[str, Any]]:
        """What ``network list`` shows."""
        return [
            self.inspect(network.name, caller)
            for network in list(self._networks.values())
            if network.name == DEFAULT or caller.may_see(network.owner)
        ]

    def inspect(self, name: str, caller: Caller) -> dict[str, Any]:
        """One network with its endpoints."""
        network = self.find(name, caller)
        endpoints = self._database.endpoints(network_id=network.id)
        return {
            "id": network.id,
            "name": network.name,
            "driver": network.driver,
            "subnet": network.subnet,
            "gateway": network.gateway,
            "interface": network.interface,
            "internal": network.internal,
            "options": dict(network.options),
            "labels": dict(network.labels),
            "containers": len(endpoints),
            "endpoints": [
                {"container": item.container_id, "address": item.address, "mac": item.mac}
                for item in endpoints
            ],
        }

    def driver(self, network: Network) -> NetworkDriver:
        """The driver that serves a network."""
        return self._driver_of(network.driver)

    # --- endpoints --------------------------------------------------------------------------------

    def reserve(self, network: Network, container: Container, interface: str) -> Endpoint:
        """An endpoint for a container with an address of its own, recorded before it is used."""
        subnet = ipaddress.ip_network(network.subnet)
        with self._lock:
            if self._networks.get(network.name) != network:
                raise Conflict(f"network {network.name!r} has just been removed", "create it again")
            used = self._used.setdefault(network.id, {})
            bare = [address.partition("/")[0] for address in used]
            wanted = container.config.networking.address
            if wanted and interface == "eth0":
                if ipaddress.ip_address(wanted) not in subnet:
                    raise InvalidInput(f"address {wanted} is outside {network.subnet}", "choose one inside")
                if wanted in bare or wanted == network.gateway:
                    raise Conflict(f"address {wanted} is in use on {network.name!r}", "choose another")
                address = wanted
            else:
                address = addresses.choose_address(
                    network.subnet, network.gateway, bare, last=self._last.get(network.id, "")
                )
                self._last[network.id] = address
            endpoint_id = os.urandom(16).hex()
            endpoint = Endpoint(
                id=endpoint_id,
                container_id=container.id,
                network_id=network.id,
                address=f"{address}/{subnet.prefixlen}",
                gateway=network.gateway,
                mac=addresses.mac_for(address),
                interface=interface,
                host_interface=f"mv{endpoint_id[:12]}",
            )
            self._database.add_endpoint(endpoint)
            used[endpoint.address] = container.id
            return endpoint

    def release(self, endpoint: Endpoint) -> None:
        """Give an endpoint's address back; absent is no error."""
        with self._lock:
            self._database.delete_endpoint(endpoint.id)
            self._used.get(endpoint.network_id, {}).pop(endpoint.address, None)

    def endpoints_of(self, container_id: str) -> list[tuple[Network, Endpoint]]:
        """Where a container is attached."""
        by_id = {network.id: network for network in list(self._networks.values())}
        return [
            (by_id[endpoint.network_id], endpoint)
            for endpoint in self._database.endpoints(container_id=container_id)
            if endpoint.network_id in by_id
        ]


# --- ports ------------------------------------------------------------------------------------------


def choose_ports(wanted: tuple[PortMapping, ...], in_use: set[tuple[str, int]]) -> tuple[PortMapping, ...]:
    """The mappings with every host port set; one that is taken raises ``Conflict``."""
    chosen: list[PortMapping] = []
    taken = set(in_use)
    for port in wanted:
        host = port.host or _free_port(port, taken)
        if (port.protocol, host) in taken or not _can_bind(port.address, host, port.protocol):
            raise Conflict(f"host port {host}/{port.protocol} is in use", "choose another host port")
        taken.add((port.protocol, host))
        chosen.append(replace(port, host=host))
    return tuple(chosen)


def _free_port(port: PortMapping, taken: set[tuple[str, int]]) -> int:
    for candidate in range(32768, 61000):
        if (port.protocol, candidate) not in taken and _can_bind(port.address, candidate, port.protocol):
            return candidate
    raise Conflict("no free host port", "free one, or name a host port yourself")


def _can_bind(address: str, port: int, protocol: str) -> bool:
    if protocol == "sctp":
        return True
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address or "0.0.0.0", port))
    except OSError:
        return False
    return True


def _overlap(one: str, other: str) -> bool:
    left, right = ipaddress.ip_network(one, strict=False), ipaddress.ip_network(other, strict=False)
    return left.version == right.version and left.overlaps(right)


# --- the container's own files ------------------------------------------------------------------------


def write_files(directory: Path, container: Container, endpoints: list[Endpoint]) -> None:
    """Write ``hosts``, ``resolv.conf`` and ``hostname``, in place: they may be mounted already."""
    networking = container.config.networking
    hostname = container.config.hostname or container.id[:12]
    names = " ".join(dict.fromkeys([hostname, container.name, *networking.aliases]))
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{endpoint.address.partition('/')[0]} {names}" for endpoint in endpoints]
    if not endpoints:
        lines.append(f"127.0.1.1 {names}")
    lines += [f"{address} {name}" for name, address in networking.extra_hosts.items()]
    (directory / "hosts").write_text("\n".join(lines) + "\n")
    (directory / "hostname").write_text(hostname + "\n")
    (directory / "resolv.conf").write_text(_resolver_text(container))


def _resolver_text(container: Container) -> str:
    networking = container.config.networking
    if networking.networks == ("none",):
        return ""
    try:
        host = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
    except OSError:
        host = []
    on_host = networking.networks == ("host",)
    servers = list(networking.dns) or [
        words[1]
        for words in host
        if words[:1] == ["nameserver"] and len(words) > 1 and (on_host or not _is_loopback(words[1]))
    ]
    search = list(networking.dns_search) or [
        name for words in host if words[:1] == ["search"] for name in words[1:]
    ]
    lines = [f"nameserver {server}" for server in servers or FALLBACK_RESOLVERS]
    if search:
        lines.append("search " + " ".join(search))
    return "\n".join(lines) + "\n"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True
