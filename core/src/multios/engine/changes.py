"""What a container or the last step of an image changed in the root filesystem below it: ``diff``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from multios.build.stubs import ALWAYS
from multios.drivers.image_source import Progress
from multios.drivers.storage import StorageDriver
from multios.engine.images import Images
from multios.engine.unpacking import UNPACKING_PREFIX
from multios.layers.archive import Entry, Source, entries
from multios.layers.compression import decompressed
from multios.layers.leaving_out import leaving_out
from multios.layers.pack import OPAQUE, WHITEOUT
from multios.model.container import Container
from multios.model.image import Image
from multios.store.layer_stream import chunks_of, written_by
from multios.supervisor.flags import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from multios.supervisor.mounts import mounted
from multios.supervisor.syscalls import Syscalls

_LARGEST_LAYER = 1 << 50
_HOW = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS


@dataclass(frozen=True, slots=True)
class Change:
    """``kind`` as docker and podman write it: added, changed or deleted; ``path`` is absolute."""

    kind: Literal["A", "C", "D"]
    path: str


def of_container(storage: StorageDriver, container: Container) -> list[Change]:
    """What the container changed in its image, by path; without what is there only to be mounted on."""
    unwanted = mount_points(storage, container)
    with written_by(lambda target: storage.diff(container.id, target)) as tar:
        with below(storage, storage.stat(container.id).parent) as had:
            return _changes(
                Source(leaving_out(chunks_of(tar), unwanted), _LARGEST_LAYER, digested=False), had
            )


def mount_points(storage: StorageDriver, container: Container) -> Callable[[Entry], bool]:
    """Whether an empty entry of the container's layer was made for a mount: its image has nothing there."""
    targets = [*ALWAYS, *container.config.mount_points]
    with below(storage, storage.stat(container.id).parent) as had:
        made = {name for target in targets if not had(name := os.fsencode(target.strip("/")))}
    return lambda entry: entry.name.removeprefix(b"./").strip(b"/") in made


def of_image(images: Images, image: Image, storage: StorageDriver, progress: Progress) -> list[Change]:
    """What the image's last layer changes in those below it, by path."""
    layers = images.layers_of(image)
    if not layers:
        return []
    with images.holding():
        parent = images.unpack_layers(layers[:-1], storage, progress)
        with images.opened(layers[-1]) as blob, below(storage, parent) as had:
            return _changes(Source(decompressed(blob.read), _LARGEST_LAYER, digested=False), had)


def _changes(layer: Source, had: Callable[[bytes], bool]) -> list[Change]:
    found: dict[str, Change] = {}
    for entry in entries(layer):
        layer.skip(entry.size)
        change = change_of(entry, had)
        if change is not None:
            found[change.path] = change
    return sorted(found.values(), key=lambda change: change.path)


def change_of(entry: Entry, had: Callable[[bytes], bool]) -> Change | None:
    """What an entry of a layer is, ``None`` for the root and for a mark that a directory is opaque."""
    name = b"/".join(part for part in entry.name.split(b"/") if part not in (b"", b"."))
    directory, _, base = name.rpartition(b"/")
    if not name or base == OPAQUE:
        return None
    if base.startswith(WHITEOUT):
        return Change("D", _path(directory, base[len(WHITEOUT) :]))
    return Change("C" if had(name) else "A", _path(directory, base))


def _path(directory: bytes, base: bytes) -> str:
    return "/" + os.path.join(directory, base).decode("utf-8", "backslashreplace")


@contextmanager
def below(storage: StorageDriver, parent: str) -> Iterator[Callable[[bytes], bool]]:
    """Whether a name is in the committed snapshot ``parent``; links in it lead nowhere."""
    if not parent:
        yield lambda name: False
        return
    syscalls = Syscalls()
    key = f"{UNPACKING_PREFIX}diff-{secrets.token_hex(8)}"
    mounts = storage.view(key, parent)
    try:
        with mounted(mounts) as root:

            def had(name: bytes) -> bool:
                try:
                    os.close(syscalls.openat2(root, os.fsdecode(name), os.O_PATH | os.O_NOFOLLOW, _HOW))
                except OSError:
                    return False
                return True

            yield had
    finally:
        storage.remove(key)
