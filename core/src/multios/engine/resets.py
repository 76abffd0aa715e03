"""A container back to its beginning, or to a state that was kept: ``reset`` and ``snapshot``.

A reset takes no longer for what was changed: a fresh writable layer changes places with the old one, which is deleted in
the background.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from multios.drivers.base import Capability
from multios.drivers.storage import StorageDriver
from multios.engine.commits import frozen
from multios.engine.container_parts import Parts
from multios.engine.containers import Containers
from multios.engine.registry import RUNNING
from multios.engine.snapshot_keys import snapshot_key, snapshot_keys, spare_key
from multios.engine.steps import Steps
from multios.errors import Conflict, InvalidInput, Unsupported, unknown
from multios.model.container import Container

HOMES = ("root", "home")
"""The directories of the root filesystem in which people have their own files."""
MOST_SNAPSHOTS = 32
"""Of one container: each takes the disk that the container's changes take, and its disk limit of a quota."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class Resets:
    """What puts a container back. Every method takes a record, and works under the container's lock."""

    def __init__(self, parts: Parts, containers: Containers) -> None:
        self._parts, self._containers, self._registry = parts, containers, parts.registry
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    def reset(self, container: Container, to: str = "", keep_home: bool = False) -> None:
        """Give it the root filesystem that it began with, or had at the snapshot ``to``; a run is ended and begun anew.

        With ``keep_home`` /root and /home stay as they are. A failure at any step leaves it as it was, and running
        again if it ran.
        """
        with self._alone(container):
            container = self._registry.current(container.id)
            storage = self._exchanging(container)
            make = self._source(container, to, keep_home)
            spare = spare_key(container)
            storage.remove(spare)  # what an earlier one could not remove
            runs = container.status in RUNNING
            dependents = self._containers.sharing.running_with(container)

            def again() -> None:
                self._containers.start_with(container, dependents)

            if runs and container.config.auto_remove:
                raise Conflict(
                    f"container {container.name!r} is removed when it ends, so it cannot be put back",
                    "create it without --rm",
                )
            with self._left_mounted(container), Steps() as steps:
                if runs:
                    steps.do("end run", lambda: self._end_run(container), again)
                with self._registry.lock(container.id):
                    self._still_stopped(container)
                    steps.do("fresh layer", make, lambda: storage.remove(spare))
                    self._exchange(storage, container.id, spare, steps)
                if runs:
                    steps.do("run again", again, lambda: self._end_run(container))
            storage.remove(spare)
        self._parts.events.of_container("reset", container, to=to)

    @contextmanager
    def _alone(self, container: Container) -> Iterator[None]:
        """One reset of a container at a time: they would use the same spare layer."""
        with self._lock:
            if container.id in self._under_way:
                raise Conflict(f"container {container.name!r} is being reset", "wait for it")
            self._under_way.add(container.id)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(container.id)

    @staticmethod
    @contextmanager
    def _left_mounted(container: Container) -> Iterator[None]:
        """Keep the run's root filesystem mounted until the block has ended and somebody else has time for it.

        The last unmount of an overlay writes to the disk whatever its filesystem has in memory (``ovl_sync_fs`` in
        the kernel), here files that nobody will see again.
        """
        try:
            root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # it does not run
            yield
            return
        try:
            yield
        finally:
            threading.Thread(target=os.close, args=(root,), name="unmount", daemon=True).start()

    def _source(self, container: Container, to: str, keep_home: bool) -> Callable[[], object]:
        """What makes the layer that the container gets."""
        storage, spare = self._parts.drivers.storage(container), spare_key(container)
        if to and keep_home:
            raise InvalidInput(
                "a reset is to a snapshot or keeps the home, not both", "leave out --to or --keep-home"
            )
        if to:
            key = snapshot_key(container, self._known(container, to))
            return lambda: storage.duplicate(spare, key)
        if keep_home:
            return lambda: storage.duplicate(spare, container.id, HOMES)
        parent = storage.stat(container.id).parent
        limit = storage.limit_of(container.id)
        if limit is not None:
            return lambda: storage.prepare_limited(spare, parent, limit.size)
        return lambda: storage.prepare(spare, parent)

    @staticmethod
    def _exchange(storage: StorageDriver, key: str, spare: str, steps: Steps) -> None:
        exchanged = []

        def there() -> None:
            storage.exchange(key, spare)
            exchanged.append(True)

        def back() -> None:
            if exchanged:
                storage.exchange(key, spare)

        steps.do("exchange layers", there, back)

    def _still_stopped(self, container: Container) -> None:
        if self._registry.current(container.id).status in RUNNING:
            raise Conflict(
                f"container {container.name!r} was started while it was being reset", "reset it once more"
            )

    def _end_run(self, container: Container) -> None:
        self._containers.stop(container, timeout=0)

    # --- snapshots ----------------------------------------------------------------------------------

    def snapshot(self, container: Container, name: str) -> None:
        """Keep the state of its files under ``name``; a running one is frozen meanwhile."""
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"bad snapshot name {name!r}", "1 to 40 of a-z 0-9 . _ -, a letter or digit first"
            )
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            storage = self._exchanging(container)
            if name in container.snapshots:
                raise Conflict(
                    f"container {container.name!r} has a snapshot {name!r} already",
                    f"choose another name, or `multios-container snapshot --remove {container.name} {name}` first",
                )
            if len(container.snapshots) >= MOST_SNAPSHOTS:
                raise Conflict(
                    f"container {container.name!r} has {MOST_SNAPSHOTS} snapshots, the most there may be",
                    f"remove one: `multios-container snapshot --remove {container.name} {container.snapshots[0]}`",
                )
            names = (*container.snapshots, name)
            runs = container.status in RUNNING
            with (
                self._parts.quotas.claimed(replace(container, snapshots=names), running=runs),
                Steps() as steps,
            ):
                key = snapshot_key(container, name)
                steps.do(
                    "copy layer",
                    lambda: self._copy(storage, container, key),
                    lambda: storage.remove(key),
                )
                current = self._registry.current(container.id)
                steps.do(
                    "record",
                    lambda: self._registry.change(current, snapshots=names),
                    lambda: self._registry.change(current),
                )
        self._parts.events.of_container("snapshot", container, snapshot=name)

    def _copy(self, storage: StorageDriver, container: Container, key: str) -> None:
        storage.remove(key)  # of one that a kill has cut short
        with frozen(self._containers, container):
            storage.duplicate(key, container.id)

    def remove_snapshot(self, container: Container, name: str) -> None:
        """Forget a kept state."""
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            self._known(container, name)
            left = tuple(item for item in container.snapshots if item != name)
            # First the record: killed here, what nobody knows is collected by the next daemon.
            self._registry.change(container, snapshots=left)
            self._parts.drivers.storage(container).remove(snapshot_key(container, name))

    def snapshots(self, container: Container) -> list[dict[str, object]]:
        """Its kept states, the oldest first, and what each takes on disk."""
        storage = self._parts.drivers.storage(container)
        return [
            {"name": name, "size": storage.usage(key).size}
            for name, key in zip(container.snapshots, snapshot_keys(container), strict=True)
        ]

    @staticmethod
    def _known(container: Container, name: str) -> str:
        if name not in container.snapshots:
            listed = ", ".join(container.snapshots) or "it has none"
            raise unknown("snapshot", name, list(container.snapshots), f"{container.name}: {listed}")
        return name

    def _exchanging(self, container: Container) -> StorageDriver:
        storage = self._parts.drivers.storage(container)
        if Capability.EXCHANGE not in storage.capabilities:
            raise Unsupported(
                f"storage driver {storage.name!r} of container {container.name!r} cannot put it back",
                "create it with another --storage, or delete and create it again",
            )
        return storage
