"""Containers on the host's own LAN under the host's MAC, told apart by address alone: the kernel's ipvlan."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar

from multios.drivers.base import Capability
from multios.drivers.child_link_network import ChildLinkNetwork, ChildLinkSettings
from multios.netlink.child_links import Child
from multios.netlink.container_side import DefaultRoute

_MODE, _FLAGS = 1, 2  # IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS
_PRIVATE = 1
MODES = {"l2": 0, "l3": 1, "l3s": 2}
"""As the kernel's linux/if_link.h numbers them."""


@dataclass(frozen=True, slots=True)
class IpvlanSettings(ChildLinkSettings):
    """Of the daemon's file, ``[network.ipvlan]``; a network's own options go before them."""

    mode: str = "l2"
    """``l2``: the LAN's gateway is asked for by ARP; ``l3``: the host's routes decide, and no broadcast passes; ``l3s``: the same through the host's packet filters."""

    def __post_init__(self) -> None:
        """Refuse what a link cannot have (``ValueError``)."""
        ChildLinkSettings.__post_init__(self)
        if self.mode not in MODES:
            raise ValueError(f"mode: {self.mode!r} is none of {', '.join(MODES)}")


class IpvlanNetwork(ChildLinkNetwork):
    """The driver."""

    name: ClassVar[str] = "ipvlan"
    summary: ClassVar[str] = "containers on the host's LAN under the host's MAC, where the kernel has ipvlan"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.IPV6, Capability.ISOLATE, Capability.NAMES_INSIDE, Capability.PARENTS_MAC}
    )
    Settings: ClassVar[type] = IpvlanSettings

    @classmethod
    def child(cls, settings: Any, isolate: bool) -> Child:
        """An ipvlan link in the mode of the settings."""
        return Child(
            kind="ipvlan",
            data={
                _MODE: struct.pack("=H", MODES[settings.mode]),
                _FLAGS: struct.pack("=H", _PRIVATE if isolate else 0),
            },
            default_route=DefaultRoute.GATEWAY if settings.mode == "l2" else DefaultRoute.LINK,
            own_mac=False,
            mtu=settings.mtu,
        )
