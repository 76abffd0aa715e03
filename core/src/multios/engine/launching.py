"""From a container's record to its running process: the steps of a start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from multios.drivers.isolation import Bundle, IsolationDriver, Launched
from multios.engine import bundle
from multios.engine.attachments import Attached, Attachments
from multios.engine.confinement import Confinement
from multios.engine.container_parts import Parts
from multios.engine.network_sharing import NetworkSharing
from multios.engine.steps import Steps
from multios.errors import NotFound
from multios.model.container import Container, HealthState, Status, Volume
from multios.model.image import ImageConfig
from multios.model.mount import Mount
from multios.supervisor.mounts import backed, mounted


class Launching:
    """Starts of containers; whoever calls has the container's lock."""

    def __init__(
        self,
        parts: Parts,
        directory: Callable[[Container], Path],
        confinement: Confinement,
        sharing: NetworkSharing,
        attachments: Attachments,
    ) -> None:
        self._parts = parts
        self._directory = directory
        self._registry = parts.registry
        self._hooks = parts.hooks
        self._confinement = confinement
        self._sharing = sharing
        self._attachments = attachments

    def launch(
        self,
        container: Container,
        attach: bool,
        stdin: int | None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Launched:
        """Make it and let it run; a step that fails undoes those before it. For the arguments see ``Containers.start``."""
        directory = self._directory(container)
        isolation = self._parts.drivers.isolation(container)
        rootfs = self._parts.drivers.storage(container).mounts(container.id)
        image = self._image_config(container)
        with (
            self._parts.quotas.claimed(container, running=True),
            backed(rootfs[-1]),
            Steps(shown=True) as steps,
        ):
            attached = self._attachments.reserve(container, steps)
            spec = self._draft(container, image, rootfs)
            spec = steps.do("apply security", lambda: self._secured(container, spec, isolation))
            if fresh := self._parts.volumes.fresh(container):
                steps.do("fill volumes", lambda: self._fill(container, fresh, rootfs, wanted))
            stdio = bundle.stdio_for(container, directory, attach, stdin)
            maker = _Maker(isolation)
            try:
                with (
                    self._sharing.opened(container) as joined,
                    bundle.opened(
                        container, spec, rootfs, directory, self._parts.volumes, stdio, joined
                    ) as ready,
                ):
                    maker.launched = steps.do(
                        "create container",
                        lambda: self._hooks.create_container(
                            driver=cast(IsolationDriver, maker), container=container, bundle=ready
                        ),
                        lambda: self._hooks.delete_container(driver=isolation, container=container),
                    )
                self._let_run(container, attached, maker.launched, steps)
            except BaseException:
                _close(*maker.launched.attached)
                raise
            finally:
                _close(maker.launched.netns)
        return maker.launched

    def _fill(
        self, container: Container, fresh: list[Volume], rootfs: tuple[Mount, ...], wanted: Callable[[], bool]
    ) -> None:
        with mounted(rootfs) as root:
            self._parts.volumes.fill(fresh, container.owner, root, wanted)

    def _let_run(
        self,
        container: Container,
        attached: list[Attached],
        launched: Launched,
        steps: Steps,
    ) -> None:
        """From made to running: networks, ports, the record, and at last the start."""
        self._attachments.attach(container, attached, launched.netns, steps)
        ports = self._attachments.publish(container, attached, steps)
        started = steps.do(
            "record",
            lambda: self._registry.change(
                container,
                status=Status.RUNNING,
                pid=launched.pid,
                cgroup=launched.cgroup,
                ports=ports,
                started=time.time(),
                exit_code=None,
                error="",
                stopped_by_user=False,
                oom_killed=False,
                counters=None,
                health=HealthState() if container.probe else None,
            ),
            lambda: self._registry.change(container),
        )
        isolation = self._parts.drivers.isolation(container)
        steps.do("start", lambda: self._hooks.start_container(driver=isolation, container=started))
        self._parts.events.of_container("start", started, started.started)
        self._attachments.host_ports.forget(container)

    def _draft(self, container: Container, image: ImageConfig, rootfs: tuple[Mount, ...]) -> dict[str, Any]:
        return bundle.draft(
            container,
            image,
            rootfs,
            self._directory(container),
            self._parts.features.get("time_namespace", False),
            self._sharing.paths(container),
        )

    def _secured(
        self, container: Container, spec: dict[str, Any], isolation: IsolationDriver
    ) -> dict[str, Any]:
        spec = self._confinement.apply(container, spec, isolation)
        self._hooks.amend_spec(container=container, spec=spec)
        return spec

    def planned_spec(self, container: Container) -> dict[str, Any]:
        """The runtime spec that a start would come to now; nothing is made."""
        rootfs = self._parts.drivers.storage(container).mounts(container.id)
        image = self._image_config(container)
        with backed(rootfs[-1]):
            spec = self._draft(container, image, rootfs)
        return self._secured(container, spec, self._parts.drivers.isolation(container))

    def _image_config(self, container: Container) -> ImageConfig:
        """The config of the image that a container was made from; ``NotFound`` when it has been removed by force."""
        if not container.image_id:  # a build's step
            return ImageConfig()
        image = self._parts.images.find(container.image_id)
        if image is None:
            raise NotFound(
                f"the image of container {container.name!r} has been removed",
                f"pull {container.config.image!r}",
            )
        return image.config


class _Maker:
    """An isolation driver that remembers what it made: a plugin that wraps the step and fails after it would lose it."""

    def __init__(self, driver: IsolationDriver) -> None:
        self._driver = driver
        self.launched = Launched(pid=0)

    def create(self, bundle: Bundle) -> Launched:
        """The driver's own."""
        self.launched = self._driver.create(bundle)
        return self.launched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
