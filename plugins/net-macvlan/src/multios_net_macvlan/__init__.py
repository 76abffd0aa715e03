"""Containers on the host's own LAN, each with a MAC of its own: the kernel's macvlan."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar

from multios.drivers.base import Capability
from multios.drivers.child_link_network import ChildLinkNetwork, ChildLinkSettings
from multios.netlink.child_links import Child

_MODE = 1  # IFLA_MACVLAN_MODE
MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
"""As the kernel's linux/if_link.h numbers them."""


@dataclass(frozen=True, slots=True)
class MacvlanSettings(ChildLinkSettings):
    """Of the daemon's file, ``[network.macvlan]``; a network's own options go before them."""

    mode: str = "bridge"
    """``bridge``: containers reach each other; ``private``: they do not; ``vepa``: by way of the switch; ``passthru``: one container has the whole parent, which gets the container's MAC meanwhile."""

    def __post_init__(self) -> None:
        """Refuse what a link cannot have (``ValueError``)."""
        ChildLinkSettings.__post_init__(self)
        if self.mode not in MODES:
            raise ValueError(f"mode: {self.mode!r} is none of {', '.join(MODES)}")


class MacvlanNetwork(ChildLinkNetwork):
    """The driver."""

    name: ClassVar[str] = "macvlan"
    summary: ClassVar[str] = "containers on the host's LAN, each with a MAC of its own"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.IPV6, Capability.ISOLATE, Capability.NAMES_INSIDE}
    )
    Settings: ClassVar[type] = MacvlanSettings

    @classmethod
    def child(cls, settings: Any, isolate: bool) -> Child:
        """A macvlan link in the mode of the settings, private when neighbours are kept apart."""
        mode = "private" if isolate else settings.mode
        return Child(
            kind="macvlan",
            data={_MODE: struct.pack("=I", MODES[mode])},
            mtu=settings.mtu,
            alone=mode == "passthru",
        )
