"""Who is called what on which network, and who may know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Host:
    """An endpoint as the daemon tells of it; see ``multios.model.network.NamedEndpoint``."""

    endpoint_id: str
    network_id: str
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    owner: int
    container_id: str
    upstream: tuple[str, ...]
    outside: bool
    domains: tuple[str, ...] | None

    def may_ask_for(self, name: str) -> bool:
        """Whether a name outside may be asked for."""
        if self.domains is None:
            return True
        return any(
            name == item or (item.startswith("*.") and name.endswith(item[1:])) for item in self.domains
        )


class Zones:
    """Every endpoint, found by address and by name."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._by_address: dict[tuple[str, str], Host] = {}
        self._by_name: dict[tuple[str, str], dict[str, Host]] = {}
        self._by_container: dict[str, dict[str, Host]] = {}

    def put(self, host: Host) -> None:
        """Add or replace an endpoint."""
        self.remove(host.endpoint_id)
        self.hosts[host.endpoint_id] = host
        for address in host.addresses:
            self._by_address[host.network_id, address] = host
        for name in host.names:
            self._by_name.setdefault((host.network_id, name.lower()), {})[host.endpoint_id] = host
        self._by_container.setdefault(host.container_id, {})[host.endpoint_id] = host

    def remove(self, endpoint_id: str) -> None:
        """Forget an endpoint; an absent one is no error."""
        host = self.hosts.pop(endpoint_id, None)
        if host is None:
            return
        for address in host.addresses:
            if self._by_address.get((host.network_id, address)) is host:
                del self._by_address[host.network_id, address]
        for name in host.names:
            _drop(self._by_name, (host.network_id, name.lower()), endpoint_id)
        _drop(self._by_container, host.container_id, endpoint_id)

    def replace(self, hosts: list[Host]) -> None:
        """These endpoints and no others."""
        for index in (self.hosts, self._by_address, self._by_name, self._by_container):
            index.clear()
        for host in hosts:
            self.put(host)

    def asker(self, network_id: str, address: str) -> Host | None:
        """Who has this address on this network."""
        return self._by_address.get((network_id, address))

    def of_container(self, container_id: str) -> Host | None:
        """A container by one of its endpoints."""
        return next(iter(self._by_container.get(container_id, {}).values()), None)

    def look_up(self, asker: Host, name: str) -> list[Host]:
        """The endpoints of that name: on the network that was asked on, else on another one of the asker's."""
        for network_id in self._networks_of(asker):
            named = self._by_name.get((network_id, name))
            if named and (found := [host for host in named.values() if _may_know(asker, host)]):
                return found
        return []

    def reverse(self, asker: Host, address: str) -> Host | None:
        """The endpoint with that address on a network of the asker's."""
        for network_id in self._networks_of(asker):
            host = self._by_address.get((network_id, address))
            if host is not None and _may_know(asker, host):
                return host
        return None

    def _networks_of(self, asker: Host) -> dict[str, None]:
        others = self._by_container.get(asker.container_id, {}).values()
        return dict.fromkeys([asker.network_id, *(host.network_id for host in others)])


def _may_know(asker: Host, host: Host) -> bool:
    return asker.owner in (0, host.owner) or host.owner == 0


def _drop(index: dict[Key, dict[str, Host]], key: Key, endpoint_id: str) -> None:
    inner = index.get(key)
    if inner is not None:
        inner.pop(endpoint_id, None)
        if not inner:
            del index[key]
