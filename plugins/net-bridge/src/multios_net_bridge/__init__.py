"""Networks on a Linux bridge: veth pairs, NAT to the outside, published ports, all over netlink."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from multios import typed_table
from multios.drivers.base import Capability, DriverContext
from multios.drivers.network import HostRule, NetworkDriver
from multios.errors import StepFailed, Unsupported
from multios.model.network import Endpoint, Network, PortMapping

if TYPE_CHECKING:
    from multios.model.health import HealthCheck
    from multios_net_bridge.attach import Port


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """Of the daemon's file, ``[network.bridge]``; a network's own options go before them."""

    mtu: int = 1500
    """Largest packet in bytes, 576 to 65535."""
    isolate: bool = False
    """Containers of one network do not reach each other, only the host and the outside."""
    source_guard: bool = True
    """Drop what a container sends under another address or MAC than its own; off for routers and bridges in containers."""
    masquerade: bool = True
    """Containers reach the outside under the host's address; without it the outside needs routes to them."""

    def __post_init__(self) -> None:
        """Refuse what a link cannot have (``ValueError``)."""
        if not 576 <= self.mtu <= 65535:
            raise ValueError(f"mtu: {self.mtu} is not between 576 and 65535")


class BridgeNetwork(NetworkDriver):
    """The driver. Links and rules live in the network namespace of the thread that makes it.

    Threads that call it must be in that namespace too.
    """

    name: ClassVar[str] = "bridge"
    summary: ClassVar[str] = (
        "a Linux bridge with NAT and published ports; needs no ip, nft or iptables program"
    )
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.PUBLISH,
            Capability.GATEWAY,
            Capability.IPV6,
            Capability.INTERNAL,
            Capability.ISOLATE,
            Capability.EGRESS,
            Capability.BANDWIDTH,
            Capability.SOURCE_GUARD,
        }
    )
    Settings: ClassVar[type] = BridgeSettings

    def __init__(self, settings: BridgeSettings, context: DriverContext) -> None:
        super().__init__(settings, context)
        # Deferred: pyroute2 takes 150 ms to import, and only the daemon makes drivers.
        from multios_net_bridge.host import Host, table_name

        self._host = Host(table_name(context.state))

    def close(self) -> None:
        """Close the netlink sockets; networks and endpoints stay."""
        self._host.close()

    def create_network(self, network: Network) -> None:
        """Make or repair bridge, address, forwarding and rules."""
        settings = self._settings_of(network)
        isolate = settings.isolate or network.isolate
        self._host.create(network, settings.mtu, isolate, settings.masquerade)

    def delete_network(self, network: Network) -> None:
        """Remove bridge and rules; the host's ip_forward stays on, because others may rely on it by now."""
        self._host.delete(network)

    def add(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Make the veth pair, its peer inside the namespace. An internal network gives no default route."""
        settings = self._settings_of(network)
        self._host.attach(network, endpoint, netns, settings.mtu, self._port(network, settings))

    def delete(self, network: Network, endpoint: Endpoint) -> None:
        """Withdraw what is published to the endpoint; remove the pair if its namespace lives on."""
        self._host.detach(endpoint)

    def check(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Compare links, address, route and rules with what :meth:`add` made."""
        faults = self._host.faults(network, endpoint, netns)
        if faults:
            remedy = "restart the daemon to repair the host's side, and the container for its own"
            raise StepFailed(f"check network {network.name!r}", "; ".join(faults), remedy)

    def publish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Forward in one atomic batch; a port that leads elsewhere or has a listener raises ``Conflict``."""
        if network.internal and ports:
            raise Unsupported(
                f"network {network.name!r} is internal: its ports cannot be published",
                "attach the container to another network too, or publish nothing",
            )
        self._host.publish(endpoint, ports)

    def unpublish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Stop forwarding, in one batch."""
        self._host.unpublish(endpoint, ports)

    def restore(self, network: Network, endpoint: Endpoint) -> None:
        """Guard, confine and join it again; network rules and ports are :meth:`create_network`'s and :meth:`publish`'s."""
        self._host.restore(network, endpoint, self._port(network, self._settings_of(network)))

    def permit(self, network: Network, endpoint: Endpoint, addresses: tuple[str, ...], seconds: int) -> None:
        """Let a confined endpoint reach these addresses."""
        self._host.permit(endpoint, addresses, seconds)

    def refusals(self, network: Network, endpoint: Endpoint) -> Mapping[str, int]:
        """What the firewall counts of a confined endpoint."""
        return {} if endpoint.egress is None else {"egress": self._host.refused(endpoint)}

    def rules(self, network: Network, endpoint: Endpoint) -> tuple[HostRule, ...]:
        """What our tables hold of the network and the endpoint."""
        return self._host.rules(network, endpoint)

    def serve_names(self, network: Network, port: int) -> None:
        """Send questions for port 53 of the gateway to ``port`` there."""
        self._host.serve_names(network, port)

    def _port(self, network: Network, settings: BridgeSettings) -> Port:
        from multios_net_bridge.attach import Port  # deferred, as the host's side is

        return Port(isolated=settings.isolate or network.isolate, guarded=settings.source_guard)

    def _settings_of(self, network: Network) -> BridgeSettings:
        settings: BridgeSettings = self.settings
        if not network.options:
            return settings
        table = {**dataclasses.asdict(settings), **network.options}
        return typed_table.read(BridgeSettings, table, f"options of network {network.name!r}: ", text=True)

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """Netlink, bridges and veth links, forwarding, other programs' rules."""
        from multios_net_bridge import health  # deferred: only the doctor asks

        return health.checks()
