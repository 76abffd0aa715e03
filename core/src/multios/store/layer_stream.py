"""Layers on their way into the content store: compressed and identified as they stream."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from isal import isal_zlib

from multios.errors import InvalidInput

GZIP_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

_CHUNK = 1 << 20
_LEVEL = 2  # of ISA-L's 0 to 3: as small as zlib's level 1 in a sixth of its time
_GZIP_WINDOW = 16 + isal_zlib.MAX_WBITS


class CompressedLayer(io.RawIOBase):
    """A gzip stream of the tar in ``chunks``; once read to its end it knows the tar's ``diff_id`` and ``size``.

    With ``limit`` a tar of more bytes raises ``InvalidInput``. The gzip header has no time, so the same tar always
    gives the same blob.
    """

    def __init__(self, chunks: Iterable[bytes], limit: int = 0) -> None:
        super().__init__()
        self._chunks = iter(chunks)
        self._limit = limit
        self._hash = hashlib.sha256()
        self._compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
        self._pending = b""
        self._ended = False
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._pending and not self._ended:
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            self._pending = self._compressor.flush() if chunk is None else self._take(chunk)
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def _take(self, chunk: bytes) -> bytes:
        self._hash.update(chunk)
        self.size += len(chunk)
        if self._limit and self.size > self._limit:
            raise InvalidInput(
                f"the root filesystem is larger than {self._limit >> 30} GiB", "make it smaller"
            )
        return self._compressor.compress(chunk)

    @property
    def diff_id(self) -> str:
        """The digest of the uncompressed tar; only after the end was read."""
        return f"sha256:{self._hash.hexdigest()}"


def chunks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The bytes of ``stream`` in pieces, to its end."""
    while chunk := stream.read(_CHUNK):
        yield chunk


@contextmanager
def written_by(writer: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """A stream of what ``writer`` writes, from a thread of its own; what it raised is raised on leaving."""
    reading, writing = os.pipe()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with os.fdopen(writing, "wb", _CHUNK) as target:
                writer(target)
        except BrokenPipeError:
            pass  # the reader gave up, and says why itself
        except BaseException as error:  # handed to the reading thread
            failures.append(error)

    thread = threading.Thread(target=write, name="layer-writer", daemon=True)
    thread.start()
    try:
        with os.fdopen(reading, "rb") as source:
            yield source
    finally:
        thread.join()
    if failures:
        raise failures[0]
