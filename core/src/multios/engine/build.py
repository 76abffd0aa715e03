"""Template steps run as containers of our own: one snapshot, a start a step, the same confinement as any other."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import selectors
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace

from multios.drivers.storage import StorageDriver
from multios.engine import files
from multios.engine.caller import Caller
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.registry import Registry
from multios.model.container import Container, ContainerConfig
from multios.model.image import Image

LABEL = "org.multios.build"
OutputReader = Callable[[str], None]


class ContainerBuilds:
    """Opens build sessions. Builds are the administrator's: what comes of them is everyone's image."""

    def __init__(self) -> None:
        self._containers: Containers | None = None

    def connect(self, containers: Containers, registry: Registry, drivers: Drivers) -> None:
        """Give it the life of containers, which itself needs templates, which need builds."""
        self._containers, self._registry, self._drivers = containers, registry, drivers

    def open(self, image: Image, name: str) -> BuildSession:
        """A session on a fresh snapshot of ``image``."""
        assert self._containers is not None
        config = ContainerConfig(
            name=f"build-{name}-{secrets.token_hex(4)}", image=image.id, labels={LABEL: name}
        )
        administrator = Caller(os.geteuid(), os.getegid())
        container = self._containers.create(config, administrator, lambda what, done, total: None)
        return BuildSession(container, self._containers, self._registry, self._drivers)


class BuildSession:
    """Commands run one after another on one snapshot."""

    def __init__(
        self, container: Container, containers: Containers, registry: Registry, drivers: Drivers
    ) -> None:
        self._container, self._containers = container, containers
        self._registry, self._drivers = registry, drivers

    @property
    def storage(self) -> StorageDriver:
        """The driver that holds the snapshot."""
        return self._drivers.storage(self._container)

    def run(self, argv: list[str], environment: Mapping[str, str], on_output: OutputReader) -> int:
        """Run a command to its end; its exit code. ``on_output`` gets each line of stdout and stderr."""
        with self._registry.lock(self._container.id):  # the clearing up after the last step may still go on
            container = self._registry.current(self._container.id)
            config = replace(
                container.config, entrypoint=(), command=tuple(argv), environment=dict(environment), user="0"
            )
            container = self._registry.change(container, config=config)
        launched = self._containers.start(container, attach=True)
        assert launched is not None
        _read_lines(launched.attached[1:], on_output)
        ended = self._registry.wait(container.id)
        return 125 if ended.exit_code is None else ended.exit_code

    def write_file(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file; its directories are made."""
        data = text.encode()
        with os.fdopen(os.memfd_create("file"), "w+b") as memory:
            with tarfile.open(fileobj=memory, mode="w") as archive:
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.size, entry.mode = len(data), mode
                archive.addfile(entry, io.BytesIO(data))
            memory.seek(0)
            container = self._registry.current(self._container.id)
            files.copy_in(self._drivers, container, "/", memory.fileno())

    def commit_key(self) -> str:
        """The storage key of the snapshot as it is now."""
        return self._container.id

    def close(self) -> None:
        """Remove the container and its snapshot (which a commit may have taken)."""
        self._containers.delete(self._registry.current(self._container.id), force=True)


def _read_lines(descriptors: tuple[int, ...], on_output: OutputReader) -> None:
    """Read every stream to its end, telling whole lines; the descriptors are closed whatever happens."""
    pending = {descriptor: b"" for descriptor in descriptors if descriptor >= 0}
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for descriptor in pending:
            stack.callback(os.close, descriptor)
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                *lines, pending[key.fd] = (pending[key.fd] + data).split(b"\n")
                for line in [*lines, pending[key.fd]] if not data else lines:
                    if line:
                        on_output(line.decode("utf-8", "replace"))
