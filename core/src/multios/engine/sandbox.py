"""Commands of builds run as containers of our own: the same confinement as any other, one container a command."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import selectors
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from multios.build.sandbox import Cancelled, Command, Hear
from multios.drivers.storage import StorageDriver
from multios.engine.caller import Caller
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.registry import RUNNING, Registry
from multios.errors import MultiosError, NotFound
from multios.model.container import Container, ContainerConfig, Networking

log = logging.getLogger(__name__)
LABEL = "org.multios.build"
_ASK_SECONDS = 0.2
_LONGEST_LINE = 1 << 16


class ContainerSandbox:
    """Builds are the administrator's: what comes of them is everyone's image."""

    def __init__(self) -> None:
        self._containers: Containers | None = None
        self._removers = ThreadPoolExecutor(2, thread_name_prefix="build-remove")
        self._removing: set[Future[None]] = set()

    def connect(self, containers: Containers, registry: Registry, drivers: Drivers) -> None:
        """Give it the life of containers, which itself needs templates, which need builds."""
        self._containers, self._registry, self._drivers = containers, registry, drivers

    @property
    def storage(self) -> StorageDriver:
        """See :class:`multios.build.sandbox.Sandbox`."""
        return self._drivers.default_storage()

    @contextlib.contextmanager
    def open(self, command: Command, parent: str) -> Iterator[_Box]:
        """See :class:`multios.build.sandbox.Sandbox`."""
        administrator = Caller(os.geteuid(), os.getegid())
        assert self._containers is not None
        container = self._containers.create_on(_config(command), "", parent, administrator)
        try:
            yield _Box(container, self._containers, self._registry)
        finally:
            # The next command need not wait for the network and the cgroups of this one to go.
            removal = self._removers.submit(self._remove, container)
            self._removing.add(removal)
            removal.add_done_callback(self._removing.discard)

    def _remove(self, container: Container) -> None:
        assert self._containers is not None
        try:
            self._containers.delete(self._registry.current(container.id), force=True)
        except NotFound:
            pass  # an administrator was faster
        except Exception:
            log.exception("removing %s failed", container.name)

    def settle(self) -> None:
        """See :class:`multios.build.sandbox.Sandbox`."""
        wait(list(self._removing))


def _config(command: Command) -> ContainerConfig:
    return ContainerConfig(
        name=f"build-{secrets.token_hex(6)}",
        entrypoint=(),
        command=command.argv,
        environment=dict(command.environment),
        working_directory=command.working_directory,
        user=command.user,
        resources=command.resources,
        networking=Networking(networks=(command.network,)),
        volumes=command.mounts,
        labels={LABEL: "step"},
    )


class _Box:
    """See :class:`multios.build.sandbox.Box`."""

    def __init__(self, container: Container, containers: Containers, registry: Registry) -> None:
        self._container, self._containers, self._registry = container, containers, registry

    @property
    def snapshot(self) -> str:
        return self._container.id

    def run(self, hear: Hear, cancelled: Callable[[], bool]) -> int:
        launched = self._containers.start(self._container, attach=True)
        assert launched is not None  # nobody else starts it
        if not _read_lines(launched.attached[1:], hear, cancelled):
            self._kill()
            raise Cancelled
        ended = self._registry.wait(self._container.id)
        return 125 if ended.exit_code is None else ended.exit_code

    def _kill(self) -> None:
        with contextlib.suppress(MultiosError):  # it has just ended
            container = self._registry.current(self._container.id)
            if container.status in RUNNING:
                self._containers.kill(container, signal.SIGKILL)


def _read_lines(descriptors: tuple[int, ...], hear: Hear, cancelled: Callable[[], bool]) -> bool:
    """Read every stream to its end, telling whole lines; whether it came to that before it was cancelled.

    The descriptors are closed whatever happens.
    """
    pending = {descriptor: b"" for descriptor in descriptors if descriptor >= 0}
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for descriptor in pending:
            stack.callback(os.close, descriptor)
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(_ASK_SECONDS)
            if cancelled():
                return False
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                *lines, rest = (pending[key.fd] + data).split(b"\n")
                if rest and (not data or len(rest) > _LONGEST_LINE):
                    lines, rest = [*lines, rest], b""
                pending[key.fd] = rest
                for line in lines:
                    hear(line.rstrip(b"\r").decode("utf-8", "replace"))
    return True
