"""``commit``: an image of what a container has become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from multios.engine.changes import mount_points
from multios.engine.config_lines import with_changes
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.images import Images
from multios.errors import Conflict, NotFound
from multios.model.container import Container, ContainerConfig, Status
from multios.model.image import Image, ImageConfig
from multios.store import manifest


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """``reference`` may be empty: the image has no name then. ``changes`` are lines of a Dockerfile."""

    reference: str = ""
    message: str = ""
    author: str = ""
    changes: Sequence[str] = ()
    pause: bool = False


def commit(
    images: Images, containers: Containers, drivers: Drivers, container: Container, request: CommitRequest
) -> Image:
    """The container's image and one more layer: what it changed. With ``pause`` it is frozen meanwhile.

    The image's configuration is the container's: its command, environment, user, working directory and labels.
    """
    base = images.find(container.image_id)
    if base is None:
        raise NotFound(
            f"the image of container {container.name!r} has been removed",
            f"pull {container.config.image!r}, or export the container",
        )
    config = with_changes(_config(base.config, container.config), request.changes)
    names = [request.reference] if request.reference else []
    with images.restoring():
        with frozen(containers, container) if request.pause else _as_it_is():
            storage = drivers.storage(container)
            layer = images.store_layer_of(container.id, storage, None, mount_points(storage, container))
        created = manifest.now()
        words = " ".join([*config.entrypoint, *config.command])
        entry = manifest.history_entry(created, words, request.message, request.author)
        layers, history = [*images.layers_of(base), layer], [*images.history_of(base), entry]
        return images.write(config, layers, history, names, "commit", created, base.platform)


def _config(base: ImageConfig, asked: ContainerConfig) -> ImageConfig:
    names = {item.partition("=")[0]: item for item in base.environment}
    names |= {name: f"{name}={value}" for name, value in asked.environment.items()}
    command = asked.command or (base.command if asked.entrypoint is None else ())
    return replace(
        base,
        command=command,
        entrypoint=base.entrypoint if asked.entrypoint is None else asked.entrypoint,
        environment=tuple(names.values()),
        working_directory=asked.working_directory or base.working_directory,
        user=asked.user or base.user,
        stop_signal=asked.stop_signal or base.stop_signal,
        labels={**base.labels, **asked.labels},
    )


@contextmanager
def frozen(containers: Containers, container: Container) -> Iterator[None]:
    """While the block runs, no process of a running container does."""
    if container.status != Status.RUNNING:
        yield
        return
    containers.pause(container)
    try:
        yield
    finally:
        with suppress(Conflict, NotFound):  # somebody else let it go on, or deleted it
            containers.resume(container)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield
