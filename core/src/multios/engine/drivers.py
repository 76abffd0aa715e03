"""The backends in use: chosen by container, daemon or environment, made once, found again by a container's record."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from multios.drivers.base import Calls, Driver, DriverContext
from multios.drivers.image_source import ImageSourceDriver
from multios.drivers.isolation import IsolationDriver
from multios.drivers.network import NetworkDriver
from multios.drivers.orchestrator import OrchestratorDriver
from multios.drivers.security import SecurityDriver
from multios.drivers.storage import StorageDriver
from multios.errors import InvalidInput
from multios.model import security_chain
from multios.model.container import Container, ContainerConfig, DriverIdentity
from multios.plugins.catalog import Catalog
from multios.settings import DriverDefaults, Settings
from multios.supervisor.client import Supervisor

CONTAINER_KINDS = ("isolation", "storage", "network", "security")
OLD_SECURITY, OLD_COMPANION = "security", "capabilities"
"""Containers of before there were chains recorded one driver under this key, and had their capabilities from the core."""
STATE_DIRECTORIES = {"storage": "snapshots"}


class Drivers:
    """Makes each driver at its first use. An unknown or broken one raises what the catalog says."""

    def __init__(self, catalog: Catalog, settings: Settings, supervisor: Supervisor) -> None:
        self._catalog, self._settings, self._supervisor = catalog, settings, supervisor
        self._defaults = settings.defaults
        self._lock = threading.RLock()
        self._made: dict[tuple[Any, ...], Driver] = {}
        self.storages: list[StorageDriver] = []
        """The storage drivers made so far; it grows."""

    def identities(self, config: ContainerConfig) -> dict[str, DriverIdentity]:
        """Which backend serves a new container, by kind; all of them are made, so that a bad choice fails now."""
        result = {}
        for kind in CONTAINER_KINDS:
            for name in self._names(kind, config.drivers):
                self._driver(kind, name, self._options(kind, name, config))
                key = f"{kind}.{name}" if kind == "security" else kind
                result[key] = self._catalog.identity(kind, name)
        return result

    def security_chain(self, chosen: Mapping[str, str]) -> tuple[str, ...]:
        """The names of the security drivers for a container that asked for the drivers ``chosen``."""
        text = chosen.get("security") or self._defaults.security
        if text:
            return security_chain.parse(text, "drivers.security")
        installed = self._catalog.names("security")
        return tuple(name for name in security_chain.BUILT_IN if name in installed)

    def chain_is_chosen(self, chosen: Mapping[str, str]) -> bool:
        """Whether somebody named the chain: the user or the administrator."""
        return bool(chosen.get("security") or self._defaults.security)

    def security_named(self, name: str, config: ContainerConfig) -> SecurityDriver:
        """A security driver of a container to come."""
        return cast(SecurityDriver, self._driver("security", name, self._options("security", name, config)))

    def isolation_named(self, config: ContainerConfig) -> IsolationDriver:
        """The isolation driver that a new container asked for."""
        name = self._name("isolation", config.drivers)
        return cast(
            IsolationDriver, self._driver("isolation", name, config.driver_options.get("isolation", {}))
        )

    def storage_named(self, config: ContainerConfig) -> StorageDriver:
        """The storage driver that a new container asked for."""
        options = config.driver_options.get("storage", {})
        return cast(StorageDriver, self._driver("storage", self._name("storage", config.drivers), options))

    def storage(self, container: Container) -> StorageDriver:
        """The storage driver that holds a container's snapshot."""
        return cast(StorageDriver, self._of(container, "storage"))

    def isolation(self, container: Container) -> IsolationDriver:
        """The isolation driver that runs a container."""
        return cast(IsolationDriver, self._of(container, "isolation"))

    def securities(self, container: Container) -> list[SecurityDriver]:
        """The security drivers that confine a container, in order."""
        keys = [key for key in container.drivers if key.startswith("security.")]
        if OLD_SECURITY not in container.drivers:
            return [cast(SecurityDriver, self._of(container, key)) for key in keys]
        recorded = cast(SecurityDriver, self._of(container, OLD_SECURITY))
        if recorded.name == OLD_COMPANION:
            return [recorded]
        return [self.security_named(OLD_COMPANION, container.config), recorded]

    def network(self, name: str) -> NetworkDriver:
        """A network driver by name."""
        return cast(NetworkDriver, self._driver("network", name, {}))

    def orchestrator(self, name: str, engine: Calls) -> OrchestratorDriver:
        """An orchestrator, the default one without a name, made for one request, with whose rights it uses the ``engine``.

        One that works with its user's own files is refused: here it would find the daemon's.
        """
        name = name or self._defaults.orchestrator
        kind = cast(type[OrchestratorDriver], self._catalog.load("orchestrator", name).driver)
        if not kind.needs_engine:
            raise InvalidInput(
                f"the orchestrator {name!r} works in the client, not in the daemon",
                f"use `multios-container app --orchestrator {name}`",
            )
        values = self._settings.driver_values("orchestrator", name)
        context = replace(self._context("orchestrator", name), engine=engine)
        return cast(OrchestratorDriver, self._catalog.create("orchestrator", name, values, context))

    def of(self, container: Container) -> None:
        """Make every driver of a container, so that what it needs is there."""
        for key in container.drivers:
            self._of(container, key)

    def reload(self, defaults: DriverDefaults) -> None:
        """Take other defaults for containers to come; one that cannot be made raises, and nothing changes."""
        for kind in CONTAINER_KINDS:
            text = str(getattr(defaults, kind))
            chain = security_chain.parse(text, "defaults.security") if text and kind == "security" else ()
            for name in chain if kind == "security" else (text,):
                self._driver(kind, name, {})
        self._defaults = defaults

    def defaults(self) -> None:
        """Make every default driver."""
        for kind in CONTAINER_KINDS:
            for name in self._names(kind, {}):
                self._driver(kind, name, {})

    def default_storage(self) -> StorageDriver:
        """The daemon's default storage driver."""
        return cast(StorageDriver, self._driver("storage", self._name("storage", {}), {}))

    def image_sources(self) -> list[ImageSourceDriver]:
        """Every image source that works, those that take any name last; the configured one alone when there is one."""
        chosen = self._settings.defaults.image_source
        names = (
            [chosen]
            if chosen
            else [row["name"] for row in self._catalog.rows("image_source") if _usable(row)]
        )
        sources = [
            cast(ImageSourceDriver, self._driver("image_source", name, {}))
            for name in names
            if chosen or name not in ("fake", "noop")
        ]
        return sorted(sources, key=lambda source: source.catch_all)

    def _of(self, container: Container, key: str) -> Driver:
        recorded = container.drivers[key]
        kind = recorded.kind
        self._catalog.load(kind, recorded.name, recorded)
        return self._driver(kind, recorded.name, self._options(kind, recorded.name, container.config))

    def _options(self, kind: str, name: str, config: ContainerConfig) -> Mapping[str, str]:
        """What the request has for a driver; of security, ``NAME.KEY`` is for the driver of that name."""
        options = config.driver_options.get(kind, {})
        if kind != "security":
            return options
        return {key.partition(".")[2]: value for key, value in options.items() if key.startswith(f"{name}.")}

    def _names(self, kind: str, chosen: Mapping[str, str]) -> tuple[str, ...]:
        return self.security_chain(chosen) if kind == "security" else (self._name(kind, chosen),)

    def _name(self, kind: str, chosen: Mapping[str, str]) -> str:
        return chosen.get(kind) or str(getattr(self._defaults, kind))

    def _driver(self, kind: str, name: str, options: Mapping[str, str]) -> Driver:
        key = (kind, name, *sorted(options.items()))
        with self._lock:
            if key not in self._made:
                values = {**self._settings.driver_values(kind, name), **options}
                driver = self._catalog.create(kind, name, values, self._context(kind, name))
                self._made[key] = driver
                if isinstance(driver, StorageDriver):
                    self.storages.append(driver)
            return self._made[key]

    def _context(self, kind: str, name: str) -> DriverContext:
        state = self._settings.data_root / STATE_DIRECTORIES.get(kind, f"drivers/{kind}") / name
        runtime = self._settings.exec_root / "drivers" / kind / name
        for directory in (state, runtime):
            Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        return DriverContext(state=state, runtime=runtime, supervisor=self._supervisor)


def _usable(row: Mapping[str, Any]) -> bool:
    return row["status"] in ("ready", "default")
