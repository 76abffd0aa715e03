"""Platforms: what machine an image is made for, in the words of the image specification (image-index.md)."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass

from multios.errors import InvalidInput

_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
    "i386": "386",
    "i686": "386",
}
_MACHINES = {"armv5l": "arm/v5", "armv6l": "arm/v6", "armv7l": "arm/v7", "armv8l": "arm/v8"}
_ARM_VARIANTS = ("v8", "v7", "v6", "v5")


@dataclass(frozen=True, slots=True)
class Platform:
    """``variant`` is empty where the architecture has one only, or it does not matter."""

    system: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.system, self.architecture, self.variant) if part)

    def preference(self, offered: Platform) -> int | None:
        """How well an image for ``offered`` runs here: 0 is best, ``None`` is not at all.

        A 32-bit ARM machine runs what is made for older ones; ``arm64`` is ``arm64/v8``.
        """
        if (self.system, self.architecture) != (offered.system, offered.architecture):
            return None
        own, other = self._known_variant(), offered._known_variant()
        if own == other:
            return 0
        if self.architecture != "arm" or own not in _ARM_VARIANTS or other not in _ARM_VARIANTS:
            return None if own and other else 1
        distance = _ARM_VARIANTS.index(other) - _ARM_VARIANTS.index(own)
        return distance if distance > 0 else None

    def _known_variant(self) -> str:
        return self.variant or {"arm": "v7", "arm64": "v8"}.get(self.architecture, "")


def parse(text: str) -> Platform:
    """``linux/arm64/v8``, ``linux/arm64`` or ``arm64``. Raises ``InvalidInput``."""
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(_WORD.fullmatch(part) for part in parts):
        raise InvalidInput(
            f"platform {text[:80]!r} is not valid", "write it like linux/amd64 or linux/arm/v7"
        )
    system, architecture, variant = ("linux", *parts, "")[:3] if len(parts) == 1 else (*parts, "")[:3]
    return Platform(system, _ARCHITECTURES.get(architecture, architecture), variant)


def of_this_machine() -> Platform:
    """What this machine runs best."""
    machine = platform.machine()
    return parse(_MACHINES.get(machine, machine))
