"""Network drivers: CNI's verbs, with addresses chosen by the engine."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from multios.drivers.base import Driver
from multios.model.network import Endpoint, Network, PortMapping


class NetworkDriver(Driver):
    """Contract. A failing call leaves nothing behind. Calls for one network may run in several threads."""

    kind: ClassVar[str] = "network"

    @abstractmethod
    def create_network(self, network: Network) -> None:
        """Make the host's side exist (interface, address, rules). Idempotent: run at every daemon start.

        A clash with what the host has (a route, a foreign interface) raises ``Conflict`` and names it.
        """

    @abstractmethod
    def delete_network(self, network: Network) -> None:
        """Remove what :meth:`create_network` made; absent parts are no error."""

    @abstractmethod
    def add(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Give the network namespace behind descriptor ``netns`` its interface, address and default route.

        On return the container can use the network. ``netns`` stays the caller's.
        """

    @abstractmethod
    def delete(self, network: Network, endpoint: Endpoint) -> None:
        """Forget the endpoint. The namespace may be gone already; absent parts are no error.

        Never deletes a veth explicitly while its namespace is about to go: the kernel takes it along.
        """

    @abstractmethod
    def check(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Raise ``StepFailed`` that says what is missing if the endpoint is not as :meth:`add` left it."""

    @abstractmethod
    def publish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Forward the host's ports to the endpoint; every ``host`` port is set. Adds to what is published."""

    @abstractmethod
    def unpublish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Take forwards away; absent ones are no error."""
