"""Networks and the endpoints of containers on them, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Network:
    """A network. ``subnet`` and ``gateway`` are text as :mod:`ipaddress` reads it."""

    id: str
    name: str
    driver: str
    subnet: str
    gateway: str
    interface: str
    """The host's interface that belongs to it (the bridge), at most 15 characters."""
    internal: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: int = 0


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
    interface: str = "eth0"
    """Its name inside the container."""
    host_interface: str = ""
    """Its peer's name on the host, at most 15 characters."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """``address:host`` on the host goes to ``container`` inside; ``host`` 0 means: choose one."""

    container: int
    host: int = 0
    protocol: str = "tcp"
    address: str = ""
