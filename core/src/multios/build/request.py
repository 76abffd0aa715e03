"""What a build is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from multios.dockerfile.syntax import Dockerfile
from multios.drivers.image_source import FetchRequest
from multios.model.container import Resources, Volume


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What commands see of the host's settings, and neither image nor cache knows of."""

    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Volume, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One build. ``fetch`` says how bases are fetched, ``secrets`` and ``agents`` are by id.

    ``epoch`` is SOURCE_DATE_EPOCH: no time in the image is later. ``agents`` are O_PATH descriptors of sockets.
    """

    dockerfile: Dockerfile
    references: tuple[str, ...] = ()
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    fetch: FetchRequest = FetchRequest()
    network: str = "default"
    resources: Resources = Resources()
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    agents: Mapping[str, int] = field(default_factory=dict)
    epoch: float | None = None
    surroundings: Surroundings = Surroundings()
