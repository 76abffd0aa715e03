"""The parts of the engine that the life of a container needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from multios.engine.drivers import Drivers
from multios.engine.events import Events
from multios.engine.id_ranges import IdRanges, SharedIds
from multios.engine.images import Images
from multios.engine.names import Names
from multios.engine.networks import Networks
from multios.engine.quotas import Quotas
from multios.engine.registry import Registry
from multios.engine.templates import Templates
from multios.engine.volumes import Volumes
from multios.plugins.hooks import Hooks
from multios.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once, by the engine; ``directory`` has one of each container in it."""

    registry: Registry
    drivers: Drivers
    hooks: Hooks
    images: Images
    templates: Templates
    networks: Networks
    names: Names
    volumes: Volumes
    id_ranges: IdRanges | SharedIds
    events: Events
    directory: Path
    settings: Callable[[], Settings]
    quotas: Quotas
    features: Mapping[str, bool]
    limits_pids: Callable[[], bool] = lambda: True
    """Whether this host has a cgroup controller for the number of processes."""
