"""Layers on their way into the content store: compressed and identified as they stream."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from multios.errors import InvalidInput

GZIP_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

_CHUNK = 1 << 20
# A stored layer is read again only for another storage driver or an export: the quickest level pays.
_LEVEL = 1
_XZ_MEMORY = 256 << 20
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class CompressedLayer(io.RawIOBase):
    """A gzip stream of the tar that ``source`` gives; once read to its end it knows the tar's ``diff_id`` and ``size``.

    ``first`` goes before what ``source`` gives. With ``limit`` a tar of more bytes raises ``InvalidInput``. The gzip
    header has no time, so the same tar always gives the same blob.
    """

    def __init__(self, source: IO[bytes], limit: int = 0, first: bytes = b"") -> None:
        super().__init__()
        self._source = source
        self._limit = limit
        self._hash = hashlib.sha256()
        self.size = 0
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self._pending = self._take(first)
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._pending and not self._ended:
            chunk = self._source.read(_CHUNK)
            self._ended = not chunk
            self._pending = self._take(chunk) if chunk else self._compressor.flush()
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


def decompressed(stream: BinaryIO) -> BinaryIO:
    """What a plain, gzip or xz ``stream`` holds, told by its first bytes.

    What it then reads may raise ``EOFError``, ``OSError``, ``zlib.error`` or ``lzma.LZMAError`` for damaged data.
    """
    buffered = io.BufferedReader(stream, _CHUNK)  # type: ignore[type-var]
    start = buffered.peek(6)[:6]
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=buffered, mode="rb")  # type: ignore[return-value]
    if start == b"\xfd7zXZ\x00":
        return io.BufferedReader(_Xz(buffered), _CHUNK)
    return buffered


class _Xz(io.RawIOBase):
    """A reader of xz streams, one after another, that gives up on a dictionary beyond a bound of memory."""

    def __init__(self, source: BinaryIO) -> None:
        super().__init__()
        self._source = source
        self._decompressor: lzma.LZMADecompressor | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._decompressor is None or self._decompressor.eof:
                data = self._next_stream()
                if not data:
                    return 0
                self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            elif self._decompressor.needs_input:
                data = self._source.read(_CHUNK)
                if not data:
                    raise EOFError("the xz stream ends too early")
            else:
                data = b""
            output = self._decompressor.decompress(data, len(buffer))
            if output:
                buffer[: len(output)] = output
                return len(output)

    def _next_stream(self) -> bytes:
        """The start of the next stream, after the padding of the last one; empty at the end."""
        data = self._decompressor.unused_data.lstrip(b"\0") if self._decompressor else b""
        while not data and (chunk := self._source.read(_CHUNK)):
            data = chunk.lstrip(b"\0")
        return data
