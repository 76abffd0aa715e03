"""The engine: every part made once, in the order in which they need each other."""

from __future__ import annotations

import logging
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import multios
from multios import doctor, features
from multios.cgroups import Cgroups
from multios.drivers.isolation import IsolationDriver
from multios.engine.apps import Apps
from multios.engine.attestation import Attestation
from multios.engine.build import Builds
from multios.engine.caller import Caller
from multios.engine.container_parts import Parts
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.event_log import EventLog
from multios.engine.events import Events
from multios.engine.exits import Exits
from multios.engine.health_probes import WORKERS, HealthProbes
from multios.engine.id_ranges import SIZE, IdRanges, SharedIds
from multios.engine.image_archives import ImageArchives
from multios.engine.images import Images
from multios.engine.imported_templates import ImportedTemplates
from multios.engine.names import Names
from multios.engine.networks import Networks
from multios.engine.quotas import Quotas
from multios.engine.registries import Registries
from multios.engine.registry import Registry
from multios.engine.resets import Resets
from multios.engine.sandbox import ContainerSandbox
from multios.engine.template_exchange import TemplateExchange
from multios.engine.template_tests import TemplateTests
from multios.engine.templates import Templates
from multios.engine.timers import Timers
from multios.engine.untold import tell_untold
from multios.engine.volumes import Volumes
from multios.engine.watch import Watch
from multios.errors import MultiosError, PluginError, Refused
from multios.layers.unpack import Bounds
from multios.model.container import Container, Status
from multios.model.json import to_json
from multios.model.volume import NamedVolume
from multios.plugins.catalog import Catalog
from multios.plugins.hooks import Hooks
from multios.rootless import roots
from multios.settings import Settings
from multios.store.content import ContentStore
from multios.store.database import Database
from multios.supervisor import id_map
from multios.supervisor.client import Supervisor

log = logging.getLogger(__name__)
DIRECTORIES = ("content", "snapshots", "containers", "volumes", "drivers")


class Engine:
    """All parts, wired. Made by the daemon; closing it leaves the containers running."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        data, run = settings.data_root, settings.exec_root
        for directory in (data, run, *(data / name for name in DIRECTORIES)):
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.features = features.probe()
        self.catalog = Catalog(settings)
        self.hooks = Hooks(self.catalog)
        self.database = Database(data / "state.db")
        self.supervisor = self._supervisor(run)
        self.drivers = Drivers(self.catalog, settings, self.supervisor)
        self.registry = Registry(self.database)
        self.events = Events(EventLog(data / "events"), self.hooks.event)
        self.quotas = Quotas(self.registry, lambda: self.settings.quotas, self._owners_of)
        self.volumes = Volumes(
            self.database, data / "volumes", self._users_of_volume, self.quotas.check_one_more
        )
        self.names = Names(run, self._learned, self._open_namespace)
        self.networks = Networks(
            self.database,
            self.drivers.network,
            self.names,
            settings.defaults.network,
            settings.networking.bridge,
            settings.networking.subnet,
            self.quotas.check_one_more,
        )
        content = ContentStore(data / "content")
        sources = self.drivers.image_sources()
        bounds = Bounds(size=settings.images.largest_layer, ratio=settings.images.largest_ratio)
        self.images = Images(content, self.drivers.storages, sources, bounds)
        self.archives = ImageArchives(self.images, content, self.drivers.default_storage)
        self.registries = Registries(self.images, content, sources, self.drivers.default_storage)
        sandbox = ContainerSandbox()
        self.builds = Builds(
            data / "build",
            run,
            self.images,
            sandbox,
            settings.build,
            has=content.has,
            may_be_newer=lambda reference: self.registries.may_be_newer(reference, is_administrator=False),
        )
        self.images.keep(self.builds.cache)
        self.images.collect_garbage()
        self.imported_templates = ImportedTemplates(data / "templates")
        self.templates = Templates(
            self.catalog, self.images, self.builds, self.imported_templates, self.quotas.most
        )
        self.template_exchange = TemplateExchange(
            self.templates,
            self.imported_templates,
            content,
            sources,
            lambda: self.settings,
            self._users_of_image,
        )
        parts = self._parts(data)
        self.containers = Containers(parts)
        self.resets = Resets(parts, self.containers)
        self.apps = Apps(self.registry)
        self.attestation = Attestation(data / "attestation.key", self.registry, self.containers, self.drivers)
        self.watch = Watch(self.registry, self.drivers, self.events)
        self.exits = Exits(parts, self.containers, self.supervisor, self.watch)
        self.health_probes = HealthProbes(
            self.registry,
            self.containers,
            self.drivers,
            self.exits,
            self.events,
            Timers(),
            ThreadPoolExecutor(WORKERS, thread_name_prefix="health"),
        )
        self.template_tests = TemplateTests(self.templates, self.containers, self.drivers, self.exits)
        sandbox.connect(self.containers, self.registry, self.drivers)

    def _parts(self, data: Path) -> Parts:
        ranges = self.settings.id_ranges
        return Parts(
            registry=self.registry,
            drivers=self.drivers,
            hooks=self.hooks,
            images=self.images,
            templates=self.templates,
            networks=self.networks,
            names=self.names,
            volumes=self.volumes,
            id_ranges=(
                SharedIds(min(id_map.size(), SIZE))
                if roots.own()
                else IdRanges(self.database, ranges.start, ranges.count // SIZE)
            ),
            events=self.events,
            directory=data / "containers",
            settings=lambda: self.settings,
            quotas=self.quotas,
            features=self.features,
            limits_pids=lambda: roots.own() is None or "pids" in self._cgroups().controllers,
        )

    def _supervisor(self, run: Path) -> Supervisor:
        names = {self.settings.defaults.isolation, *self.catalog.names("isolation")}
        launchers = []
        for name in sorted(names):
            with suppress(PluginError):
                driver = self.catalog.load("isolation", name).driver
                launchers.append(cast(type[IsolationDriver], driver).launcher)
        return Supervisor(
            run / "supervisor.sock",
            run / "exits",
            cgroup_parent=self.settings.daemon.cgroup_parent,
            launchers=[launcher for launcher in launchers if launcher],
        )

    def begin(self) -> None:
        """Agree with the kernel, then listen; from here on requests may come."""
        self._warm()
        tell_untold(self.registry, self.events)
        self.exits.reconcile()
        self.containers.attachments.tell_names()
        self.exits.listen()
        self.exits.start_again()
        self.health_probes.begin(self.supervisor)
        self.watch.begin()

    def _warm(self) -> None:
        """Make what the first start needs, so that it is as fast as the second."""
        for container in self.registry.all(removing=True):
            try:
                self.drivers.of(container)
            except MultiosError as error:
                log.warning("container %s: %s", container.name, error.cause)
        try:
            self.drivers.defaults()
            self.networks.ensure("default", Caller(os.geteuid(), os.getegid()))
        except MultiosError as error:
            log.warning("not usable yet: %s", error.cause)

    def reload(self, settings: Settings) -> None:
        """Take new defaults for containers to come; roots, sockets and made drivers stay as they are.

        A default driver that is not there raises, and nothing changes.
        """
        self.drivers.reload(settings.defaults)
        self.settings = replace(
            settings,
            daemon=self.settings.daemon,
            networking=self.settings.networking,
            drivers=self.settings.drivers,
        )

    def leave(self) -> None:
        """Send the supervisor away too, unless it still has containers."""
        with suppress(MultiosError):
            self.supervisor.shutdown()
            self.names.leave()

    def close(self) -> None:
        """Let go of everything; containers and supervisor go on."""
        self.watch.close()
        self.health_probes.close()
        self.exits.close()
        self.events.close()
        self.registry.close()
        self.supervisor.close()
        self.names.close()
        self.builds.close()
        self.database.close()

    def _learned(self, endpoint_id: str, name: str, addresses: tuple[str, ...], seconds: int) -> None:
        self.containers.attachments.learned(endpoint_id, name, addresses, seconds)

    def _open_namespace(self, container_id: str) -> int:
        return self.containers.attachments.open_namespace(container_id)

    def _owners_of(self, kind: str) -> list[int]:
        return self.networks.owners() if kind == "networks" else self.volumes.owners()

    def _users_of_volume(self, named: NamedVolume) -> list[str]:
        return [
            container.name
            for container in self.registry.all()
            if container.owner == named.owner
            and any(item.kind == "volume" and item.source == named.name for item in container.config.volumes)
        ]

    def counts(self, caller: Caller | None = None) -> dict[str, int]:
        """How many containers, of those that a caller may see, are in which state."""
        counts = {str(status): 0 for status in Status}
        for container in self.registry.visible(caller) if caller else self.registry.all():
            counts[str(container.status)] += 1
        return counts

    def version(self) -> dict[str, Any]:
        """What ``system.version`` answers."""
        return {
            "version": multios.__version__,
            "api": 1,
            "daemon_pid": os.getpid(),
            "python": platform.python_version(),
            "kernel": os.uname().release,
        }

    @property
    def cgroup_mode(self) -> str:
        """``v1``, ``v2`` or ``hybrid``."""
        return self._cgroups().mode

    def _cgroups(self) -> Cgroups:
        return Cgroups(parent=self.settings.daemon.cgroup_parent)

    def diagnose(self) -> list[dict[str, Any]]:
        """What ``system.doctor`` answers."""
        known = {"containers": {container.id for container in self.registry.all(removing=True)}}
        return [to_json(finding) for finding in doctor.run(self.settings, self.catalog, self.hooks, known)]

    def remove_image(self, reference: str, force: bool, caller: Caller) -> list[str]:
        """Remove an image that no container uses; administrators only, because images are everyone's."""
        if not caller.is_administrator:
            raise Refused("removing images is for administrators", "ask the administrator")
        image = self.images.get(reference)
        return list(self.images.remove(reference, force, self._users_of_image(image.id)))

    def _users_of_image(self, image_id: str) -> list[str]:
        return [item.name for item in self.registry.all() if item.image_id == image_id]

    def command_of(self, container: Container) -> tuple[str, ...]:
        """What a container runs, as ``ps`` shows it."""
        config = container.config
        image = self.images.find(container.image_id)
        entrypoint = config.entrypoint
        if entrypoint is None:
            entrypoint = image.config.entrypoint if image else ()
        return (*entrypoint, *(config.command or (image.config.command if image else ())))
