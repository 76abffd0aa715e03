"""What network drivers share whose containers are on the host's own LAN, by children of one of its interfaces."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from multios import typed_table
from multios.drivers.base import DriverContext
from multios.drivers.network import NetworkDriver
from multios.errors import InvalidInput, StepFailed, Unsupported
from multios.model.health import Health, HealthCheck
from multios.model.network import Endpoint, Network, PortMapping
from multios.netlink.child_links import Child, ChildLinks, attempt
from multios.netlink.container_side import check_mtu


@dataclass(frozen=True, slots=True)
class ChildLinkSettings:
    """Of the daemon's file, ``[network.NAME]``; a network's own options go before them."""

    parent: str = ""
    """The host's interface that leads to the LAN; empty is the one of the default route."""
    mtu: int = 0
    """Largest packet in bytes, 576 to 65535; 0 is the parent's."""

    def __post_init__(self) -> None:
        """Refuse what a link cannot have (``ValueError``)."""
        if self.mtu and not 576 <= self.mtu <= 65535:
            raise ValueError(f"mtu: {self.mtu} is not between 576 and 65535")


class ChildLinkNetwork(NetworkDriver):
    """A driver says in :meth:`child` what a container's interface is; its ``Settings`` are ``ChildLinkSettings`` and more.

    The host gets nothing of its own, so there is no gateway of ours, and nothing is published: the LAN reaches the
    containers by their own addresses. Parents are in the network namespace of the thread that makes the driver.
    """

    Settings: ClassVar[type] = ChildLinkSettings

    def __init__(self, settings: ChildLinkSettings, context: DriverContext) -> None:
        super().__init__(settings, context)
        self._links = ChildLinks(context.runtime)

    @classmethod
    @abstractmethod
    def child(cls, settings: Any, isolate: bool) -> Child:
        """How a container's interface is made; with ``isolate`` so that neighbours do not reach each other."""

    def close(self) -> None:
        """Close the netlink socket; endpoints stay."""
        self._links.close()

    def create_network(self, network: Network) -> None:
        """See that the parent is there, ``NotFound`` names it if it is not, and that its packets are large enough."""
        settings = self._settings_of(network)
        parent = self._links.parent(network, settings.parent)
        if settings.mtu > parent.mtu:
            raise InvalidInput(
                f"mtu: {settings.mtu} is larger than the {parent.mtu} of {parent.name}",
                "choose a smaller one",
            )
        check_mtu(network, settings.mtu or parent.mtu)

    def delete_network(self, network: Network) -> None:
        """Nothing is there to remove."""

    def add(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Make the child inside the namespace, with addresses and routes."""
        parent = self._links.parent(network, self._settings_of(network).parent)
        self._links.attach(network, endpoint, netns, parent, self._child_on(network))

    def delete(self, network: Network, endpoint: Endpoint) -> None:
        """Remove the child if its namespace lives on."""
        self._links.detach(endpoint)

    def check(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Compare interface, addresses and routes with what :meth:`add` made."""
        faults = self._links.faults(endpoint, netns, self._child_on(network))
        if faults:
            raise StepFailed(f"check network {network.name!r}", "; ".join(faults), "restart the container")

    def publish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Raise ``Unsupported``: the container's ports are on the LAN as they are."""
        raise Unsupported(
            f"network {network.name!r} publishes no ports: the LAN reaches its containers by their own addresses",
            f"connect to {endpoint.address.partition('/')[0]}, or use a bridge network",
        )

    def unpublish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Nothing is published."""

    def _settings_of(self, network: Network) -> Any:
        if not network.options:
            return self.settings
        table = {**dataclasses.asdict(self.settings), **network.options}
        return typed_table.read(self.Settings, table, f"options of network {network.name!r}: ", text=True)

    def _child_on(self, network: Network) -> Child:
        return self.child(self._settings_of(network), network.isolate)

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """Whether the kernel makes such links."""
        child = cls.child(cls.Settings(), False)
        subject = f"{child.kind} links"
        error = attempt(child)
        if error is None:
            yield HealthCheck(subject, Health.OK, "can be made")
        elif isinstance(error, PermissionError):
            yield HealthCheck(
                subject, Health.SKIP, "only root can make links", "ask the daemon: it runs as root"
            )
        else:
            detail = f"none: {error}; networks of driver {cls.name} are refused"
            yield HealthCheck(subject, Health.SKIP, detail, f"run `modprobe {child.kind}`")
