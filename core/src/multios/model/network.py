"""Networks and the endpoints of containers on them, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Network:
    """A network. Subnets and gateways are text as :mod:`ipaddress` reads it; those of IPv6 are empty without it."""

    id: str
    name: str
    driver: str
    subnet: str
    gateway: str
    interface: str
    """The host's interface that belongs to it (the bridge), at most 15 characters; empty with ``NAMES_INSIDE``."""
    internal: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: int = 0
    subnet6: str = ""
    gateway6: str = ""
    ip_range: str = ""
    """The part of ``subnet`` that addresses are chosen from; empty is all of it."""
    isolate: bool = False
    """Its containers reach the host and the outside, not each other."""
    egress: tuple[str, ...] = ()
    """What its containers may reach, as addresses, CIDRs and domain names; empty is everything."""
    created: float = 0.0
    shared: bool = False
    """Everyone may use it, not its owner alone."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One container's place on one network; the engine has chosen address and MAC."""

    id: str
    container_id: str
    network_id: str
    address: str
    """With prefix length: ``172.17.0.2/16``."""
    gateway: str
    mac: str
    """Empty with ``PARENTS_MAC``."""
    interface: str = "eth0"
    """Its name inside the container."""
    host_interface: str = ""
    """Its peer's name on the host, at most 15 characters."""
    address6: str = ""
    """With prefix length; empty on a network without IPv6."""
    gateway6: str = ""
    egress: tuple[str, ...] | None = None
    """The addresses and CIDRs that it may reach beyond its network; ``None`` is everything."""
    bandwidth_in: int = 0
    """Bits a second that it may receive; 0 is without limit."""
    bandwidth_out: int = 0
    """Bits a second that it may send; 0 is without limit."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """``address:host`` on the host goes to ``container`` inside; ``host`` 0 means: choose one.

    With ``host_last`` one from ``host`` to that is to be chosen; what was chosen has none.
    """

    container: int
    host: int = 0
    protocol: str = "tcp"
    address: str = ""
    host_last: int = 0


@dataclass(frozen=True, slots=True)
class NamedEndpoint:
    """What the name server knows of an endpoint."""

    endpoint_id: str
    network_id: str
    addresses: tuple[str, ...]
    """Without prefix lengths."""
    names: tuple[str, ...]
    """The first is what a reverse look-up answers."""
    owner: int
    """A uid: names are visible to endpoints of the same owner, those of uid 0's containers to all of the network."""
    container_id: str
    upstream: tuple[str, ...] = ()
    """Name servers for other names; empty is the host's."""
    outside: bool = True
    """Whether it may ask for names outside at all."""
    domains: tuple[str, ...] | None = None
    """The names outside that it may ask for, ``*.example.org`` for all below; ``None`` is all."""
