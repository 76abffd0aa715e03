"""Networks for a user's own engine: pasta(1) carries a container's packets as connections of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from multios.drivers.base import Capability, DriverContext
from multios.drivers.network import NetworkDriver
from multios.errors import StepFailed
from multios.model.network import Endpoint, Network, PortMapping

if TYPE_CHECKING:
    from multios.model.health import HealthCheck


class PastaNetwork(NetworkDriver):
    """Needs no right on the host's network: every container has a pasta process of its own, which is all its way out.

    So containers do not reach each other but by published ports, and there is no gateway of ours; the gateway's
    address is not the host's loopback.
    """

    name: ClassVar[str] = "pasta"
    summary: ClassVar[str] = "a way out and published ports without root; the default of a user's own engine"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.ALONE,
            Capability.ISOLATE,
            Capability.NAMES_INSIDE,
            Capability.PUBLISH,
            Capability.ROOTLESS,
        }
    )

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        from multios_net_pasta.places import Places  # deferred: the class is light to import

        self._places = Places(context.runtime, self._open_namespace if context.supervisor else None)

    def close(self) -> None:
        """Let go of what is open; networks go on."""
        self._places.close()

    def create_network(self, network: Network) -> None:
        """Nothing on the host; ``Unsupported`` where pasta is not installed."""
        self._places.program()

    def delete_network(self, network: Network) -> None:
        """Nothing is there to remove."""

    def add(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Start a pasta for the namespace."""
        self._places.start(network, endpoint, netns, ())

    def delete(self, network: Network, endpoint: Endpoint) -> None:
        """End it: its interface and its ports go with it."""
        self._places.stop(endpoint)

    def check(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Compare the interface with what :meth:`add` made, and see that its pasta lives."""
        faults = self._places.faults(endpoint, netns)
        if faults:
            raise StepFailed(f"check network {network.name!r}", "; ".join(faults), "restart the container")

    def publish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Replace its pasta by one with the ports: it takes them at its start only. Open connections break."""
        self._places.change(network, endpoint, add=ports)

    def unpublish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """The same without them."""
        self._places.change(network, endpoint, remove=ports)

    def restore(self, network: Network, endpoint: Endpoint) -> None:
        """Nothing of the host's that others could take away."""

    def _open_namespace(self, container_id: str) -> int:
        """The network namespace of a container's first process; −1 when there is none."""
        supervisor = self.context.supervisor
        rows = supervisor.processes() if supervisor is not None else []
        pid = next((row["pid"] for row in rows if row["id"] == container_id), 0)
        try:
            return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC) if pid else -1
        except OSError:
            return -1

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """Whether pasta is installed and may open ``/dev/net/tun``."""
        from multios_net_pasta.health import checks

        return checks()
