"""Named volumes, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NamedVolume:
    """A directory below ``data_root/volumes`` that outlives containers. ``owner`` is the uid of who made it."""

    id: str
    name: str
    owner: int
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    """It is new, and no start has found files to fill it with, nor any in it. Records of before have no such word."""
