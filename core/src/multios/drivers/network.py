"""Network drivers: CNI's verbs, with addresses chosen by the engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from multios.drivers.base import Driver
from multios.model.network import Endpoint, Network, PortMapping


@dataclass(frozen=True, slots=True)
class HostRule:
    """A rule of the host's that an endpoint's packets meet: where it stands, what it does, and the command that shows it."""

    place: str
    words: str
    see: str


class NetworkDriver(Driver):
    """Contract. A failing call leaves nothing behind. Calls for one network may run in several threads.

    What the engine may ask of a driver besides depends on its ``capabilities``; it asks nothing else:

    ``PUBLISH``       the host's ports are forwarded (:meth:`publish`)
    ``GATEWAY``       the host has the gateway's address, and names are served there (:meth:`serve_names`)
    ``NAMES_INSIDE``  containers do not reach the host: the engine serves names inside each, at 127.0.0.11
    ``ALONE``         containers of a network do not reach each other, whatever ``isolate`` says
    ``IPV6``          ``subnet6`` and ``address6`` are honoured
    ``PARENTS_MAC``   an endpoint has the MAC of one of the host's interfaces: its ``mac`` is empty
    ``INTERNAL``      a network may have no way to the outside
    ``ISOLATE``       a network's containers may be kept from each other
    ``EGRESS``        an endpoint may be confined to some destinations (``egress``, :meth:`permit`)
    ``BANDWIDTH``     an endpoint's rates may be limited
    ``SOURCE_GUARD``  packets with another source address or MAC than the endpoint's own are dropped
    """

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

    def serve_names(self, network: Network, port: int) -> None:
        """Let what containers ask at port 53 of the gateway, over UDP and TCP, go to ``port`` there.

        Called after each :meth:`create_network` of a driver with ``GATEWAY``; another port replaces the former.
        """
        raise NotImplementedError

    def permit(self, network: Network, endpoint: Endpoint, addresses: tuple[str, ...], seconds: int) -> None:
        """Let an endpoint that is confined reach further addresses for ``seconds``; again prolongs it (``EGRESS``)."""
        raise NotImplementedError

    def refusals(self, network: Network, endpoint: Endpoint) -> Mapping[str, int]:
        """How many packets of an attached endpoint were refused, by reason: ``egress``, outside its allow-list."""
        return {}

    def rules(self, network: Network, endpoint: Endpoint) -> tuple[HostRule, ...]:
        """The host's rules that an attached endpoint's packets meet, as they stand in the kernel now, for people."""
        return ()

    def restore(self, network: Network, endpoint: Endpoint) -> None:
        """Put back what other programs took from the host's side of an attached endpoint.

        Called after :meth:`create_network` and before :meth:`publish`, at every daemon start and repair.
        """
