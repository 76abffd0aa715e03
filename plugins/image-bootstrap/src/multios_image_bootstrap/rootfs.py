"""A tarball of the host as an image: ``rootfs:/path/to/file.tar``."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import tarfile
from pathlib import Path

from multios.drivers.image_source import ContentSink, Progress
from multios.errors import InvalidInput, NotFound
from multios.layers.compression import decompressed
from multios.model.image import Descriptor, ImageConfig, ResolvedImage
from multios.store.layer_stream import GZIP_LAYER_TYPE, CompressedLayer
from multios.store.manifest import DEFAULT_PATH, Layer, write_image

PREFIX = "rootfs:"
_LARGEST = 64 << 30
_BLOCK = 512


def resolve(reference: str, source: str) -> ResolvedImage:
    """The image of a file; a file that changes is another image. Says nothing of whether the file exists.

    Raises ``InvalidInput`` for a path that is not absolute.
    """
    path = reference.removeprefix(PREFIX)
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput(f"image {reference!r}: the path is not absolute", "write rootfs:/path/to/file.tar")
    try:
        state = os.stat(path)
        identity = f"{path}\n{state.st_size}\n{state.st_mtime_ns}"
    except OSError:
        identity = path
    label = re.sub(r"[^a-z0-9]+", "-", Path(path).name.lower()).strip("-")[:60] or "file"
    tag = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:12]
    return ResolvedImage(f"rootfs/{label}:{tag}", source, f"root filesystem {path}", {"host_path": path})


def fetch(image: ResolvedImage, content: ContentSink, progress: Progress) -> Descriptor:
    """Store the tarball (plain, gzip or xz) as an image of one layer."""
    path = str(image.data["host_path"])
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidInput(f"{path} is not a file", "name a tar of a root filesystem")
            progress(f"Reading {path}", 0, 0)
            chunks = decompressed(file.read)
            first = next(chunks, b"")
            _check_start(path, first[:_BLOCK])
            layer = CompressedLayer(itertools.chain([first], chunks), _LARGEST)
            blob = content.put(GZIP_LAYER_TYPE, layer)  # type: ignore[arg-type]
    except FileNotFoundError:
        raise NotFound(f"no such file: {path!r}", "name a tar of a root filesystem") from None
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror}", "name a tar of a root filesystem"
        ) from error
    config = ImageConfig(command=("/bin/sh",), environment=(DEFAULT_PATH,))
    return write_image(content, config, [Layer(blob, layer.diff_id)], f"root filesystem {path}")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a fifo must not hold the daemon up


def _check_start(path: str, block: bytes) -> None:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise InvalidInput(
            f"{path} is not a tar ({error})", "name a tar, plain or with gzip or xz"
        ) from error
