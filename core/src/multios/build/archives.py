"""Local archives that ADD unpacks: recognised by content, unpacked in a child that cannot leave its directory."""

from __future__ import annotations

import bz2
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from multios.errors import MultiosError
from multios.layers.compression import decompressed
from multios.layers.unpack import unpack

_TAR_MAGIC = (257, b"ustar")
_HEAD = 512
_BZIP2 = b"BZh"


def is_archive(file: BinaryIO) -> bool:
    """Whether the content is a tar, compressed or not; the file is back at its beginning afterwards."""
    try:
        head = b""
        for chunk in _plain(file):
            head += chunk
            if len(head) >= _HEAD:
                break
    except (MultiosError, OSError, EOFError):
        head = b""
    file.seek(0)
    place, magic = _TAR_MAGIC
    return head[place : place + len(magic)] == magic


def unpack_archive(file: BinaryIO, directory: Path) -> None:
    """Unpack into a new directory; ``InvalidInput`` for an archive that is damaged or hostile."""
    directory.mkdir(mode=0o755)
    head = file.read(len(_BZIP2))
    file.seek(0)
    stream: BinaryIO = io.BufferedReader(bz2.BZ2File(file)) if head == _BZIP2 else file
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unpack(stream, descriptor)
    finally:
        os.close(descriptor)


def _plain(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(len(_BZIP2))
    file.seek(0)
    if head == _BZIP2:
        yield bz2.BZ2File(file).read(_HEAD)
    else:
        yield from decompressed(file.read)
