"""Apps: several containers from one file, as orchestrators get them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

STARTED, HEALTHY, COMPLETED = "started", "healthy", "completed"


@dataclass(frozen=True, slots=True)
class Dependency:
    """``service`` must be ``started``, ``healthy`` or ``completed`` (exited with 0) first.

    With ``restart`` the dependent is started again when ``service`` was replaced; one that is not ``required`` may be
    missing, or fail.
    """

    service: str
    condition: str = STARTED
    restart: bool = False
    required: bool = True


@dataclass(frozen=True, slots=True)
class UpdatePolicy:
    """How a service's containers are replaced: ``parallelism`` at a time (0: all), ``delay`` seconds between.

    ``order`` is ``stop-first`` or ``start-first``. A new container that ends or is unhealthy within ``monitor`` seconds,
    or before its probe has first succeeded, has failed; then ``failure_action`` is ``pause`` (stop here), ``continue`` or
    ``rollback`` (the old ones come back).
    """

    parallelism: int = 1
    delay: float = 0.0
    order: str = "stop-first"
    monitor: float = 5.0
    failure_action: str = "pause"


@dataclass(frozen=True, slots=True)
class FileUse:
    """Where a service's containers have the file ``source``: read-only at ``target``, with this mode and owner inside."""

    source: str
    target: str
    mode: int = 0o444
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class AppFile:
    """What Compose calls a config, or a ``secret``, which is shown to nobody."""

    key: str
    content: bytes = b""
    secret: bool = False


@dataclass(frozen=True, slots=True)
class LifecycleHook:
    """A command that runs in a container after its start or before its stop; empty fields mean the container's own."""

    command: tuple[str, ...]
    user: str = ""
    working_directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """``replicas`` containers of one document: see :mod:`multios.model.container_document`.

    ``container`` has no name. It is ``NAME`` with ``container_name``, else ``APP-SERVICE-NUMBER``. ``update`` is ``None``
    where nothing was said of replacing: then all are replaced at once and nobody watches.
    """

    name: str
    container: Mapping[str, Any]
    replicas: int = 1
    depends_on: tuple[Dependency, ...] = ()
    update: UpdatePolicy | None = None
    container_name: str = ""
    files: tuple[FileUse, ...] = ()
    post_start: tuple[LifecycleHook, ...] = ()
    pre_stop: tuple[LifecycleHook, ...] = ()


@dataclass(frozen=True, slots=True)
class AppNetwork:
    """``key`` is its name in the file, ``name`` the engine's. ``request`` are parameters of ``networks.create``.

    An ``external`` one is not the app's: it must be there, and stays.
    """

    key: str
    name: str
    external: bool = False
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AppVolume:
    """As :class:`AppNetwork`."""

    key: str
    name: str
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class App:
    """What shall be. ``services`` are in the file's order; what they depend on and the networks and volumes that they use exist."""

    name: str
    services: tuple[Service, ...] = ()
    networks: tuple[AppNetwork, ...] = ()
    volumes: tuple[AppVolume, ...] = ()
    files: tuple[AppFile, ...] = ()

    def service(self, name: str) -> Service | None:
        """The service of that name."""
        return next((item for item in self.services if item.name == name), None)

    def in_order(self) -> tuple[Service, ...]:
        """The services, each after those that it depends on, otherwise as they stand."""
        by_name = {service.name: service for service in self.services}
        ordered: dict[str, Service] = {}
        for service in self.services:
            stack = [] if service.name in ordered else [service]
            while stack:
                missing = [
                    by_name[item.service]
                    for item in stack[-1].depends_on
                    if item.service in by_name and item.service not in ordered
                ]
                if missing:
                    stack.append(missing[0])
                else:
                    done = stack.pop()
                    ordered[done.name] = done
        return tuple(ordered.values())


@dataclass(frozen=True, slots=True)
class Instance:
    """A container of an app that exists. ``status`` is the engine's (``created``, ``running``, ``paused``, ``exited``).

    ``image_id`` is what it was made from. ``fingerprint`` is that of its service when it was made.
    """

    id: str
    name: str
    service: str
    number: int
    status: str
    image_id: str = ""
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AppState:
    """What there is: everything with the app's label. ``networks`` and ``volumes`` map a name to its fingerprint.

    ``elsewhere`` are names of networks and volumes that are there and not the app's; ``images`` maps each reference that the
    app's services name to the image's id, without those that are absent.
    """

    instances: tuple[Instance, ...] = ()
    networks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    elsewhere: frozenset[tuple[str, str]] = frozenset()
    """``("network", NAME)`` and ``("volume", NAME)``."""
    images: Mapping[str, str] = field(default_factory=dict)


def fingerprint(value: Any) -> dict[str, str]:
    """A short digest of each field that stands in ``value``, by its path (``environment.DEBUG``): equal values, equal digests."""
    return {path: _digest(leaf) for path, leaf in _leaves("", value) if path}


def changed_fields(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """The paths that differ between two fingerprints, sorted."""
    return tuple(sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path)))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and path.count(".") < 2:
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, value


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
