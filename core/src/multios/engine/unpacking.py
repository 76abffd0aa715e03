"""Layers into snapshots: every chain of layers once per storage driver, named by its chain ID."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterable

from multios.drivers.image_source import Progress
from multios.drivers.storage import StorageDriver
from multios.engine.locks import KeyedLocks
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, StepFailed
from multios.layers.unpack import unpack
from multios.model.image import Image
from multios.store.content import ContentStore
from multios.store.manifest import Layer, chain_ids, read_layers

log = logging.getLogger(__name__)

UNPACKING_PREFIX = "unpack-"
_CHAIN_PREFIX = "sha256-"


def snapshot_key(chain_id: str) -> str:
    """The storage key of a chain of layers."""
    return chain_id.replace(":", "-", 1)


class Unpacker:
    """Unpacks images of ``content``; ``images`` tells which exist, so that what no image needs can go."""

    def __init__(self, content: ContentStore, images: Callable[[], Iterable[Image]]) -> None:
        self._content = content
        self._images = images
        self._locks = KeyedLocks()
        self._clearing = threading.Lock()
        self._cleared: set[str] = set()

    def unpack(self, image: Image, storage: StorageDriver, progress: Progress) -> str:
        """The key of the committed snapshot of all layers; only absent ones are unpacked."""
        self._clear_leftovers(storage)
        keys = [snapshot_key(chain) for chain in chain_ids(image.layers)]
        if not _exists(storage, keys[-1]):
            parent = ""
            for number, (key, layer) in enumerate(
                zip(keys, read_layers(self._content, image), strict=True), 1
            ):
                with self._locks.holding((storage.name, key)):
                    if not _exists(storage, key):
                        what = f"Unpacking layer {number} of {len(keys)}"
                        self._unpack_layer(layer, storage, key, parent, _renamed(progress, what))
                parent = key
        return keys[-1]

    def adopt(self, image: Image, storage: StorageDriver, snapshot: str) -> None:
        """Let the active snapshot, of which the image's top layer was made, be that layer's committed one."""
        self._clear_leftovers(storage)
        key = snapshot_key(chain_ids(image.layers)[-1])
        with self._locks.holding((storage.name, key)):
            if _exists(storage, key):
                storage.remove(snapshot)
            else:
                storage.commit(key, snapshot)

    def release(self, image: Image, storage: StorageDriver) -> None:
        """Remove the image's snapshots, from the top down to the first that something else needs."""
        needed = self._needed()
        for chain in reversed(chain_ids(image.layers)):
            key = snapshot_key(chain)
            with self._locks.holding((storage.name, key)):
                if key in needed or not _removed(storage, key):
                    return

    def _unpack_layer(
        self, layer: Layer, storage: StorageDriver, key: str, parent: str, progress: Progress
    ) -> None:
        temporary = f"{UNPACKING_PREFIX}{secrets.token_hex(8)}"
        try:
            mounts = storage.prepare(temporary, parent)
            with self._content.open(layer.blob.digest) as blob:
                done = unpack(blob, mounts, progress=lambda read: progress("", read, layer.blob.size))
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
        """Once per storage driver: what a killed process was unpacking, and chains of no image, go."""
        with self._clearing:
            if storage.name in self._cleared:
                return
            needed = self._needed()
            committed = []
            for snapshot in list(storage.walk()):
                if snapshot.key.startswith(UNPACKING_PREFIX):
                    storage.remove(snapshot.key)
                elif snapshot.key.startswith(_CHAIN_PREFIX) and snapshot.key not in needed:
                    committed.append(snapshot.key)
            # A parent can go only after its children, which stand in no order.
            while removed := [key for key in committed if _removed(storage, key)]:
                committed = [key for key in committed if key not in removed]
            self._cleared.add(storage.name)

    def _needed(self) -> set[str]:
        return {snapshot_key(chain) for image in self._images() for chain in chain_ids(image.layers)}


def _exists(storage: StorageDriver, key: str) -> bool:
    try:
        return storage.stat(key).kind == "committed"
    except NotFound:
        return False


def _removed(storage: StorageDriver, key: str) -> bool:
    """Remove a snapshot unless another one stands on it."""
    try:
        storage.remove(key)
    except Conflict:
        return False
    return True


def _renamed(progress: Progress, what: str) -> Progress:
    return lambda _, done, total: progress(what, done, total)
