"""Local archives that ADD unpacks: recognised by content, unpacked in a child that cannot leave its directory."""

from __future__ import annotations

import bz2
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from multios.errors import InvalidInput, MultiosError
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
    stream = cast(BinaryIO, _Decompressed(file)) if head == _BZIP2 else file
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unpack(stream, descriptor)
    finally:
        os.close(descriptor)


class _Decompressed(io.RawIOBase):
    """A bzip2 file's content; without a descriptor, which would be the compressed file's."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._content = bz2.BZ2File(file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._content.read(len(buffer))
        except (OSError, EOFError) as error:
            raise InvalidInput(f"the archive is damaged: {error}", "make it again") from None
        buffer[: len(data)] = data
        return len(data)


def _plain(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(len(_BZIP2))
    file.seek(0)
    if head == _BZIP2:
        yield bz2.BZ2File(file).read(_HEAD)
    else:
        yield from decompressed(file.read)
