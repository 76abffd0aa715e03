"""Steps that make a layer: a command run or files written, on the layers before; remembered in the build cache."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from multios.build import stubs
from multios.build.cache import BuildCache, CachedStep
from multios.build.sandbox import Cancelled, Command, CommandFailed, Hear, Sandbox
from multios.drivers.image_source import Progress
from multios.drivers.storage import StorageDriver
from multios.engine.locks import KeyedLocks
from multios.model.mount import Mount
from multios.store.manifest import Layer, chain_ids
from multios.supervisor.mounts import mounted

Fill = Callable[[int, Sequence[Mount]], bool]
"""Writes below the open root of a snapshot, whose mounts come too; whether it changed anything."""


class LayerStore(Protocol):
    """What the engine's images do for a build."""

    def store_layer_of(self, snapshot: str, storage: StorageDriver, latest: float | None) -> Layer:
        """The changes of an active snapshot, stored."""

    def adopt(self, layers: Sequence[Layer], storage: StorageDriver, snapshot: str) -> str:
        """Let the active snapshot be the committed one of these layers."""

    def unpack_layers(self, layers: Sequence[Layer], storage: StorageDriver, progress: Progress) -> str:
        """The committed snapshot of these layers."""

    def holding(self) -> AbstractContextManager[None]:
        """Nothing that is stored meanwhile is collected."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a step."""

    step: CachedStep
    was_cached: bool


class LayerSteps:
    """Makes layers for every build; safe from any thread. ``has`` says, and makes sure, that a blob is stored."""

    def __init__(
        self, images: LayerStore, sandbox: Sandbox, cache: BuildCache, has: Callable[[str], bool]
    ) -> None:
        self._images, self._sandbox, self.cache, self._has = images, sandbox, cache, has
        self._locks = KeyedLocks()

    @property
    def storage(self) -> StorageDriver:
        """Where snapshots are."""
        return self._sandbox.storage

    def settle(self) -> None:
        """Wait until nothing is left of commands that have ended."""
        self._sandbox.settle()

    def cached(
        self,
        key: str,
        layers: Sequence[Layer],
        fresh: bool,
        created: float | None,
        make: Callable[[], Layer | None],
    ) -> Made:
        """What the step with this key makes on ``layers``: from the cache unless ``fresh``, else by ``make``.

        Builds that come to one step at the same time make it once. ``created`` is the step's time, ``None`` for now.
        """
        with self._locks.holding(key):
            found = None if fresh else self.cache.find(key)
            if found is not None and found.layer is not None and not self._has(found.layer.blob.digest):
                self.cache.forget(key)
                found = None
            if found is not None:
                return Made(found, True)
            layer = make()
            step = CachedStep(layer, time.time() if created is None else created)
            chains = chain_ids([item.diff_id for item in (*layers, *([layer] if layer else ()))])
            self.cache.remember(key, step, chains)
            return Made(step, False)

    def run(
        self,
        layers: Sequence[Layer],
        command: Command,
        latest: float | None,
        hear: Hear,
        cancelled: Callable[[], bool],
        progress: Progress,
    ) -> Layer:
        """The layer of what a command changes; ``CommandFailed`` or ``Cancelled`` when it does not get to its end."""
        parent = self.parent(layers, progress)
        with self._sandbox.open(command, parent) as box:
            mounts = self.storage.mounts(box.snapshot)
            with mounted(mounts) as root:
                places = stubs.absent(root, [mount.target for mount in command.mounts])
            status = box.run(hear, cancelled)
            if status:
                raise CommandFailed(status)
            with mounted(mounts) as root:
                stubs.remove(root, places)
            return self._store(layers, box.snapshot, latest)

    def try_command(
        self,
        layers: Sequence[Layer],
        command: Command,
        hear: Hear,
        cancelled: Callable[[], bool],
        progress: Progress,
    ) -> int:
        """The exit status of a command whose changes are thrown away."""
        with self._sandbox.open(command, self.parent(layers, progress)) as box:
            return box.run(hear, cancelled)

    def write(
        self,
        layers: Sequence[Layer],
        fill: Fill,
        latest: float | None,
        progress: Progress,
        alone: bool = False,
    ) -> Layer | None:
        """The layer of what ``fill`` writes, ``None`` when it says that it changed nothing.

        With ``alone`` it is written on nothing, whatever lies below it in the end (``--link``).
        """
        parent = "" if alone else self.parent(layers, progress)
        storage, snapshot = self.storage, _snapshot_key()
        mounts = storage.prepare(snapshot, parent)
        try:
            with mounted(mounts) as root:
                changed = fill(root, mounts)
            if not changed:
                return None
            if alone:
                return self._images.store_layer_of(snapshot, storage, latest)
            return self._store(layers, snapshot, latest)
        finally:
            storage.remove(snapshot)  # absent, where it has been adopted

    def _store(self, layers: Sequence[Layer], snapshot: str, latest: float | None) -> Layer:
        layer = self._images.store_layer_of(snapshot, self.storage, latest)
        # With a bound the times in the snapshot are others than in the layer: it is unpacked when it is needed.
        if latest is None:
            self._images.adopt([*layers, layer], self.storage, snapshot)
        return layer

    def parent(self, layers: Sequence[Layer], progress: Progress) -> str:
        """The committed snapshot of these layers, empty for none."""
        return self._images.unpack_layers(layers, self.storage, progress) if layers else ""

    @contextlib.contextmanager
    def viewing(self, layers: Sequence[Layer], progress: Progress) -> Iterator[tuple[int, Sequence[Mount]]]:
        """The root filesystem of these layers to read from, as an O_PATH descriptor and as mounts."""
        key = _snapshot_key()
        parent = self.parent(layers, progress)
        mounts = self.storage.view(key, parent) if parent else self.storage.prepare(key)
        try:
            with mounted(mounts) as root:
                yield root, mounts
        finally:
            self.storage.remove(key)


def _snapshot_key() -> str:
    """In the form of a container's id, of which no container is: the next daemon sweeps those away."""
    return secrets.token_hex(32)


def check_wanted(cancelled: Callable[[], bool]) -> None:
    """Raise :class:`Cancelled` when nobody wants the build any more."""
    if cancelled():
        raise Cancelled
