"""The life of a container: create, start, stop and all between.

Read :meth:`Containers.create` first, and then :meth:`Launching.launch`.

Every method takes a container's record, found by the door with its caller's eyes, and changes its state under
the container's lock.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from multios.drivers.base import Capability
from multios.drivers.isolation import IsolationDriver, Launched
from multios.engine import disk_limits, given_files, health_states, limit_changes
from multios.engine.attachments import Attachments
from multios.engine.caller import Caller
from multios.engine.confinement import Confinement
from multios.engine.container_parts import Parts
from multios.engine.container_requests import ContainerRequests, Progress
from multios.engine.launching import Launching
from multios.engine.network_sharing import NetworkSharing
from multios.engine.processes import open_process
from multios.engine.registry import RUNNING
from multios.engine.snapshot_keys import kept_keys
from multios.engine.steps import Steps
from multios.errors import Conflict, MultiosError, NotFound, StepFailed, Unsupported
from multios.model import id_mapping
from multios.model.container import (
    Container,
    ContainerConfig,
    HealthProbe,
    Resources,
    RestartPolicy,
    Status,
)
from multios.model.mount import IdMap

log = logging.getLogger(__name__)
KILL_SECONDS = 10.0


class Containers:
    """Operations on containers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._hooks = parts.hooks
        self.confinement = Confinement(parts.drivers, parts.hooks, parts.settings)
        self.sharing = NetworkSharing(parts.registry, parts.drivers, open_process)
        self.attachments = Attachments(
            parts.networks, parts.names, parts.registry, parts.hooks, self.directory, open_process
        )
        self.requests = ContainerRequests(parts, self.confinement, self.sharing)
        self.launching = Launching(parts, self.directory, self.confinement, self.sharing, self.attachments)

    def directory(self, container: Container) -> Path:
        """The bundle, the log and the network files of a container."""
        return self._parts.directory / container.id

    # --- create and delete ------------------------------------------------------------------------

    def create(
        self, config: ContainerConfig, caller: Caller, progress: Progress, of_run: bool = False
    ) -> Container:
        """Image or template found, pulled or built; then id range, snapshot and row. Undone whole when a step fails."""
        config = self.requests.check(config, caller)
        self._registry.check_name_free(config.name, caller.uid)
        config, image = self.requests.resolve_image(config, caller, progress)
        if config.template:
            self.confinement.check(config)  # with what the template wants of it
        chain = self._parts.images.unpack(image, self._parts.drivers.storage_named(config), progress)
        probe = health_states.chosen(config.healthcheck, image.config)
        return self.create_on(config, image.id, chain, caller, of_run, probe)

    def create_on(
        self,
        config: ContainerConfig,
        image_id: str,
        parent: str,
        caller: Caller,
        of_run: bool = False,
        probe: HealthProbe | None = None,
    ) -> Container:
        """A container on the committed snapshot ``parent``, empty for nothing; undone whole when a step fails.

        ``image_id`` is empty where ``config`` alone says all: a step of a build.
        """
        resources = limit_changes.together(config.resources, self.requests.default_resources())
        networking = self._parts.networks.resolved(config.networking, caller)
        config = replace(config, resources=resources, networking=networking)
        config = self.sharing.resolved(config, caller, self.requests.wants_own_ids)
        identities = self._parts.drivers.identities(config)
        storage = self._parts.drivers.storage_named(config)
        disk_limits.check(storage, resources)
        container = Container(
            id=secrets.token_hex(32),
            name=config.name,
            owner=caller.uid,
            config=given_files.recorded(config),
            image_id=image_id,
            drivers=identities,
            created=time.time(),
            of_run=of_run,
            probe=probe,
        )
        if probe is not None:
            self.capable(container, Capability.EXEC)
        with self._parts.quotas.claimed(container, running=False), Steps(shown=True) as steps:
            other = self.sharing.other(container)
            if self.requests.wants_own_ids(config):
                id_map = (
                    other.id_map
                    if other is not None
                    else steps.do(
                        "take id range",
                        lambda: self._id_map(config, container.id),
                        lambda: self._parts.id_ranges.free(container.id),
                    )
                )
                container = replace(container, id_map=id_map)
            given_files.check_mapped(config.files, container.id_map)
            steps.do(
                "prepare rootfs",
                lambda: self._hooks.prepare_rootfs(driver=storage, container=container, parent=parent),
                lambda: self._hooks.release_rootfs(driver=storage, container=container),
            )
            directory = self.directory(container)
            steps.do(
                "make directory",
                lambda: directory.mkdir(mode=0o700),
                lambda: shutil.rmtree(directory, ignore_errors=True),
            )
            if config.files:
                steps.do("write given files", lambda: given_files.write(config.files, directory))
            steps.do(
                "record",
                lambda: self._registry.add(container),
                lambda: self._registry.remove(container),
            )
        self._parts.events.of_container("create", container, container.created)
        return container

    def _id_map(self, config: ContainerConfig, container_id: str) -> IdMap:
        wanted = id_mapping.parse(config.security.user_namespace)
        if wanted.id_map is None:
            return self._parts.id_ranges.take(container_id, wanted.size)
        others = ((one.name, one.id_map) for one in self._registry.all() if one.id_map is not None)
        return self._parts.id_ranges.claim(container_id, wanted.id_map, others)

    def delete(self, container: Container, force: bool, volumes: bool = False) -> None:
        """Remove a container; a running one only with ``force``."""
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            if container.status in RUNNING and not force:
                raise Conflict(
                    f"container {container.name!r} is {container.status}",
                    f"stop it first, or `multios-container delete --force {container.name}`",
                )
            # A driver that is not installed any more is said now: without it nothing could be cleaned up.
            isolation = self._isolation(container)
            self._parts.drivers.storage(container)
            if container.status in RUNNING:
                try:
                    isolation.kill(container.id, signal.SIGKILL, everything=True)
                except NotFound:
                    log.warning("container %s was not running any more", container.name)
                container = self._ended_by_kill(container)
            self._registry.hide(container)
            self.discard(container)
            if volumes:
                self._remove_volumes(container)

    def _ended_by_kill(self, container: Container) -> Container:
        self.clear_run(container)
        ended = self._registry.change(
            container, status=Status.EXITED, pid=0, exit_code=137, finished=time.time(), ports=()
        )
        self._parts.events.of_container("die", ended, ended.finished, exit_code=137)
        return ended

    def discard(self, container: Container) -> None:
        """Remove all that is left of a hidden container: every inverse of create, each whether or not others fail."""
        steps = Steps()
        steps.later("record", lambda: self._registry.remove(container))
        steps.later("id range", lambda: self._parts.id_ranges.free(container.id))
        directory = self.directory(container)
        steps.later("directory", lambda: shutil.rmtree(directory, ignore_errors=True))
        steps.later("rootfs", lambda: self._release_rootfs(container))
        steps.undo()
        self._parts.events.of_container("delete", container)

    def _release_rootfs(self, container: Container) -> None:
        storage = self._parts.drivers.storage(container)
        for key in kept_keys(container):
            storage.remove(key)
        self._hooks.release_rootfs(driver=storage, container=container)

    def _remove_volumes(self, container: Container) -> None:
        owner = Caller(container.owner, container.owner)
        for volume in container.config.volumes:
            if volume.kind == "volume":
                try:
                    self._parts.volumes.remove(volume.source, owner)
                except MultiosError as error:
                    log.info("volume %s stays: %s", volume.source, error.cause)

    # --- start --------------------------------------------------------------------------------------

    def start_again(self, container: Container) -> None:
        """Start an exited container as its restart policy wants, unless someone was faster or has stopped it.

        Nor where the container is stopped whose network it uses.
        """
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            if not _may_come_back(container):
                return
            container = self._registry.change(container, restart_count=container.restart_count + 1)
        other = self.sharing.other(container)
        if other is not None and other.stopped_by_user and other.status not in RUNNING:
            return
        with self._beside_its_network(container), self._registry.lock(container.id):
            container = self._registry.current(container.id)
            if _may_come_back(container):
                self.launching.launch(container, attach=False, stdin=None)

    def start(
        self,
        container: Container,
        attach: bool = False,
        stdin: int | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Launched | None:
        """Start a created or exited container. ``None`` when it runs already.

        With ``attach`` the caller owns the ends of its streams in the answer. While its volumes are being filled, which may
        take long, ``wanted`` is asked now and then whether to go on.
        """
        with self._beside_its_network(container), self._registry.lock(container.id):
            container = self._registry.current(container.id)
            if container.status == Status.PAUSED:
                raise Conflict(f"container {container.name!r} is paused", "resume it")
            if container.status == Status.RUNNING:
                return None
            return self.launching.launch(replace(container, restart_count=0), attach, stdin, wanted)

    @contextmanager
    def _beside_its_network(self, container: Container) -> Iterator[None]:
        """Start the container whose network it uses, and keep that from ending meanwhile; nothing where it has its own.

        Of two locks the other container's comes first, at its end too: see :meth:`clear_run`.
        """
        other = self.sharing.other(container)
        if other is None:
            yield
            return
        with self._registry.lock(other.id):
            if self._registry.current(other.id).status not in RUNNING:
                self.start(other)
            yield

    def restore_network(self, container: Container) -> None:
        """Make sure of a running container's place on its networks' host side, which may have been flushed."""
        self.attachments.restore(container)

    def clear_run(self, container: Container) -> None:
        """What a run leaves when it has ended: every inverse of start, each whether or not others fail.

        Who uses its network is killed first: the namespace goes with the last process in it, and its addresses are others' then.
        """
        steps = Steps()
        self.attachments.clear(
            container,
            steps,
            lambda: self._hooks.delete_container(driver=self._isolation(container), container=container),
        )
        for dependent in self.sharing.running_with(container):
            steps.later("share network", partial(self._kill_run, dependent, container.stopped_by_user))
        steps.undo()

    # --- while it runs ------------------------------------------------------------------------------

    def stop(self, container: Container, timeout: int | None = None) -> None:
        """Ask it to end with its stop signal, kill it after ``timeout`` seconds. An ended one is no error.

        First those that use its network, in the same way.
        """
        for dependent in self.sharing.running_with(container):
            self.stop(dependent, timeout)
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            container = self._registry.change(container, stopped_by_user=True)
            if container.status not in RUNNING:
                return
            if container.status == Status.PAUSED:
                container = self._thaw(container)
            name = self._stop_signal(container)
            self._isolation(container).kill(container.id, signal.Signals[name])
        patience = container.config.stop_timeout if timeout is None else timeout
        deadline = time.monotonic() + patience
        if not self._registry.wait_until_ended(container, deadline):
            self._kill_run(container)
            if not self._registry.wait_until_ended(container, time.monotonic() + KILL_SECONDS):
                raise StepFailed("stop", f"container {container.name!r} does not end", "see the daemon's log")
        self._parts.events.of_container("stop", container)

    def _kill_run(self, run: Container, stopped_by_user: bool = False) -> None:
        """Kill every process of this run; not those of a later one. With ``stopped_by_user`` it does not come back."""
        with self._registry.lock(run.id):
            container = self._registry.get(run.id)
            if container is None or container.status not in RUNNING or container.started != run.started:
                return
            if stopped_by_user:
                container = self._registry.change(container, stopped_by_user=True)
            if container.status == Status.PAUSED:
                self._thaw(container)
            self._isolation(container).kill(container.id, signal.SIGKILL, everything=True)

    def kill(self, container: Container, number: int) -> None:
        """Send a signal to the first process of a running container."""
        with self._registry.lock(container.id):
            container = self.running(container)
            if number == signal.SIGKILL:
                container = self._registry.change(container, stopped_by_user=True)
                if container.status == Status.PAUSED:
                    container = self._thaw(container)  # a frozen process does not die (cgroup v1)
            self._isolation(container).kill(container.id, number)
            self._parts.events.of_container("kill", container, signal=signal.Signals(number).name)

    def restart(self, container: Container, timeout: int | None = None) -> None:
        """Stop it if it runs, then start it, and those that used its network."""
        dependents = self.sharing.running_with(container)
        self.stop(container, timeout)
        self.start_with(container, dependents)

    def start_with(self, container: Container, dependents: list[Container]) -> None:
        """Start it, and then those that ran with its network before."""
        self.start(container)
        for dependent in dependents:
            if not dependent.config.auto_remove:
                self.start(dependent)

    def pause(self, container: Container) -> None:
        """Freeze every process."""
        with self._registry.lock(container.id):
            container = self.running(container)
            if container.status == Status.PAUSED:
                raise Conflict(f"container {container.name!r} is paused already", "")
            isolation = self.capable(container, Capability.PAUSE)
            with Steps() as steps:
                steps.do(
                    "pause", lambda: isolation.pause(container.id), lambda: isolation.resume(container.id)
                )
                paused = self._registry.change(container, status=Status.PAUSED)
            self.attachments.tell_names_of(paused)
            self._parts.events.of_container("pause", container)

    def resume(self, container: Container) -> None:
        """Thaw it."""
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            if container.status != Status.PAUSED:
                raise Conflict(f"container {container.name!r} is not paused", f"it is {container.status}")
            self._thaw(container)
            self._parts.events.of_container("resume", container)

    def _thaw(self, container: Container) -> Container:
        self._isolation(container).resume(container.id)
        thawed = self._registry.change(container, status=Status.RUNNING)
        self.attachments.tell_names_of(thawed)
        return thawed

    def update(self, container: Container, resources: Resources, policy: RestartPolicy | None) -> None:
        """Change limits, on a running container at once, and the restart policy; all or nothing."""
        with self._registry.lock(container.id), Steps() as steps:
            container = self._registry.current(container.id)
            before = container.config.resources
            config = replace(container.config, resources=limit_changes.together(resources, before))
            if policy is not None:
                config = replace(config, restart_policy=policy)
            runs = container.status in RUNNING
            with self._parts.quotas.claimed(replace(container, config=config), running=runs):
                disk_limits.change(self._parts.drivers.storage(container), container, resources, steps)
                asked = replace(resources, disk_limit=None)
                if runs and asked != Resources():
                    isolation = self.capable(container, Capability.UPDATE)
                    back = limit_changes.inverse(asked, before)
                    steps.do("change limits", lambda: isolation.update(container.id, asked))
                    steps.later("change limits", lambda: isolation.update(container.id, back))
                steps.do("record", lambda: self._registry.change(container, config=config))
            self._parts.events.of_container("update", container)

    def rename(self, container: Container, name: str) -> None:
        """Give it another name."""
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            self._registry.check_name_free(name, container.owner)
            config = replace(container.config, name=name)
            renamed = self._registry.change(container, name=name, config=config)
            self._parts.events.of_container("rename", renamed, former_name=container.name)
            self.attachments.tell_names_of(renamed)

    def running(self, container: Container) -> Container:
        """The record of a container that runs or is paused; ``Conflict`` otherwise."""
        container = self._registry.current(container.id)
        if container.status not in RUNNING:
            raise Conflict(
                f"container {container.name!r} is not running",
                f"`multios-container start {container.name}` starts it",
            )
        return container

    def _stop_signal(self, container: Container) -> str:
        image = self._parts.images.find(container.image_id)  # it may have been removed by force
        return container.config.stop_signal or (image.config.stop_signal if image else "") or "SIGTERM"

    def capable(self, container: Container, capability: Capability) -> IsolationDriver:
        """The driver that runs a container; ``Unsupported`` when it cannot do this."""
        isolation = self._isolation(container)
        if capability not in isolation.capabilities:
            raise Unsupported(
                f"isolation driver {isolation.name!r} of container {container.name!r} has no {capability}",
                "create the container with another isolation driver",
            )
        return isolation

    def _isolation(self, container: Container) -> IsolationDriver:
        return self._parts.drivers.isolation(container)


def _may_come_back(container: Container) -> bool:
    return container.status == Status.EXITED and not container.stopped_by_user
