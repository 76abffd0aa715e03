"""Layers into snapshots: every chain of layers once per storage driver, named by its chain ID."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from multios.drivers.image_source import Progress
from multios.drivers.storage import StorageDriver
from multios.engine.locks import KeyedLocks
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, StepFailed
from multios.layers.unpack import Bounds, unpack
from multios.store.content import ContentStore
from multios.store.manifest import Layer, chain_ids

log = logging.getLogger(__name__)

UNPACKING_PREFIX = "unpack-"
_CHAIN_PREFIX = "sha256-"


def snapshot_key(chain_id: str) -> str:
    """The storage key of a chain of layers."""
    return chain_id.replace(":", "-", 1)


class Unpacker:
    """Unpacks layers of ``content``; ``needed`` tells the chain IDs that stay, so that the others can go."""

    def __init__(self, content: ContentStore, needed: Callable[[], Iterable[str]], bounds: Bounds) -> None:
        self._content = content
        self._bounds = bounds
        self._needed_chains = needed
        self._locks = KeyedLocks()
        self._clearing = threading.Lock()
        self._cleared: set[str] = set()
        self._holding = threading.Lock()
        self._holds = 0
        self._held: set[str] = set()

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """While this lasts, the snapshots that are made or found stay, though no image needs them yet."""
        with self._holding:
            self._holds += 1
        try:
            yield
        finally:
            with self._holding:
                self._holds -= 1
                if not self._holds:
                    self._held.clear()

    def unpack(self, layers: Sequence[Layer], storage: StorageDriver, progress: Progress) -> str:
        """The key of the committed snapshot of all layers, empty for none; only absent ones are unpacked."""
        self._clear_leftovers(storage)
        keys = [snapshot_key(chain) for chain in chain_ids([layer.diff_id for layer in layers])]
        self._hold(keys)
        if not keys:
            return ""
        with self._locks.holding((storage.name, keys[-1])):
            if _exists(storage, keys[-1]):
                return keys[-1]
        parent = ""
        for number, (key, layer) in enumerate(zip(keys, layers, strict=True), 1):
            with self._locks.holding((storage.name, key)):
                if not _exists(storage, key):
                    what = f"Unpacking layer {number} of {len(keys)}"
                    self._unpack_layer(layer, storage, key, parent, _renamed(progress, what))
            parent = key
        return parent

    def adopt(self, diff_ids: Sequence[str], storage: StorageDriver, snapshot: str) -> str:
        """Let the active snapshot, of which the top layer was made, be the committed one of the chain; its key."""
        self._clear_leftovers(storage)
        keys = [snapshot_key(chain) for chain in chain_ids(diff_ids)]
        self._hold(keys)
        with self._locks.holding((storage.name, keys[-1])):
            if _exists(storage, keys[-1]):
                storage.remove(snapshot)
            else:
                storage.commit(keys[-1], snapshot)
        return keys[-1]

    def collect(self, storage: StorageDriver) -> None:
        """Remove the snapshots of chains that nothing needs, but those below a container."""
        needed = self._needed()
        unneeded = [
            snapshot.key
            for snapshot in list(storage.walk())
            if snapshot.key.startswith(_CHAIN_PREFIX) and snapshot.key not in needed
        ]
        # A parent can go only after its children, which stand in no order.
        while removed := [key for key in unneeded if self._removed(storage, key)]:
            unneeded = [key for key in unneeded if key not in removed]

    def _unpack_layer(
        self, layer: Layer, storage: StorageDriver, key: str, parent: str, progress: Progress
    ) -> None:
        temporary = f"{UNPACKING_PREFIX}{secrets.token_hex(8)}"
        try:
            mounts = storage.prepare(temporary, parent)
            with self._content.open(layer.blob.digest) as blob:
                done = unpack(
                    blob,
                    mounts,
                    bounds=self._bounds.of(layer.blob.size),
                    progress=lambda read: progress("", read, layer.blob.size),
                )
            if done.blob != layer.blob.digest:
                raise InvalidInput(
                    f"layer {layer.blob.digest[:19]} has been damaged on this disk",
                    "remove the image and fetch it again",
                )
            if done.digest != layer.diff_id:
                raise InvalidInput(
                    f"layer {layer.blob.digest[:19]} is not what its image says ({layer.diff_id[:19]})",
                    "fetch the image again",
                )
            storage.commit(key, temporary)
        except BaseException as error:
            with contextlib.suppress(NotFound):
                storage.remove(temporary)
            if isinstance(error, MultiosError) or not isinstance(error, Exception):
                raise
            raise StepFailed(
                "unpack layer", f"{layer.blob.digest[:19]}: {error}", "fetch the image again"
            ) from error

    def _clear_leftovers(self, storage: StorageDriver) -> None:
        """Once per storage driver: what a killed process was unpacking, and chains that nothing needs, go."""
        with self._clearing:
            if storage.name in self._cleared:
                return
            for snapshot in list(storage.walk()):
                if snapshot.key.startswith(UNPACKING_PREFIX):
                    storage.remove(snapshot.key)
            self._cleared.add(storage.name)
            self.collect(storage)

    def _hold(self, keys: Sequence[str]) -> None:
        with self._holding:
            if self._holds:
                self._held.update(keys)

    def _needed(self) -> set[str]:
        with self._holding:
            held = set(self._held)
        return held | {snapshot_key(chain) for chain in self._needed_chains()}

    def _removed(self, storage: StorageDriver, key: str) -> bool:
        """Remove a snapshot unless another one stands on it, or somebody has just taken it."""
        with self._locks.holding((storage.name, key)):
            if key in self._needed():
                return False
            try:
                storage.remove(key)
            except Conflict:
                return False
        return True


def _exists(storage: StorageDriver, key: str) -> bool:
    try:
        return storage.stat(key).kind == "committed"
    except NotFound:
        return False


def _renamed(progress: Progress, what: str) -> Progress:
    return lambda _, done, total: progress(what, done, total)
