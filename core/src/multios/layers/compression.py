"""Reading a layer's compressed stream, told apart by its first bytes: plain, gzip, zstd and xz."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import zstandard
from isal import isal_zlib

from multios.errors import InvalidInput

_CHUNK = 1 << 18
_OUTPUT = 1 << 20
_XZ_MEMORY = 256 << 20
"""Bytes that an xz stream's dictionary may ask for."""

_ZSTD_WINDOW = 128 << 20
"""Bytes that a zstd stream's window may ask for: what ``zstd -d`` allows without ``--long``."""

_GzipError = cast(type[Exception], isal_zlib.error)  # its stubs call the class an instance

Read = Callable[[int], bytes]


def decompressed(read: Read) -> Iterator[bytes]:
    """The plain bytes of the stream behind ``read``, told apart by their magic number.

    At most a few MiB are held, however well the stream was compressed; zstd may ask for its window besides.
    Raises ``InvalidInput`` for a corrupt stream.
    """
    head = b""
    while len(head) < 6 and (data := read(_CHUNK)):
        head += data
    if head.startswith(b"\x1f\x8b"):
        return _members(head, read, lambda: isal_zlib.decompressobj(31), _inflate, "gzip")
    if head.startswith(b"\xfd7zXZ\x00"):
        return _members(head, read, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), _unxz, "xz")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(head, read)
    return _plain(head, read)


def _plain(head: bytes, read: Read) -> Iterator[bytes]:
    yield head
    while data := read(_CHUNK):
        yield data


def _members(
    head: bytes,
    read: Read,
    new: Callable[[], Any],
    step: Callable[[Any, bytes], tuple[bytes, bytes]],
    name: str,
) -> Iterator[bytes]:
    """Streams one after another, as gzip and xz allow; zeros after one are padding."""
    data, machine = head, new()
    try:
        while True:
            output, data = step(machine, data)
            if output:
                yield output
            if machine.eof:
                data = machine.unused_data.lstrip(b"\0")
                while not data and (more := read(_CHUNK)):
                    data = more.lstrip(b"\0")
                if not data:
                    return
                machine = new()
            elif not data and not output:
                data = read(_CHUNK)
                if not data:
                    raise InvalidInput(f"the {name} stream is cut short")
    except (_GzipError, lzma.LZMAError) as error:
        raise InvalidInput(f"the {name} stream is corrupt ({error})") from error


def _inflate(machine: Any, data: bytes) -> tuple[bytes, bytes]:
    output = machine.decompress(data, _OUTPUT)
    return output, machine.unconsumed_tail


def _unxz(machine: Any, data: bytes) -> tuple[bytes, bytes]:
    return machine.decompress(data, _OUTPUT), b""


def _zstd(head: bytes, read: Read) -> Iterator[bytes]:
    source = cast(IO[bytes], _Prefixed(head, read))  # only its read is used
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
        source, read_size=_CHUNK, read_across_frames=True
    )
    try:
        while data := reader.read(_OUTPUT):
            yield data
    except zstandard.ZstdError as error:
        raise InvalidInput(f"the zstd stream of the layer is corrupt ({error})") from error


class _Prefixed:
    """A readable object that gives ``head`` first."""

    def __init__(self, head: bytes, read: Read) -> None:
        self._head = head
        self._read = read

    def read(self, size: int = _CHUNK) -> bytes:
        """At most ``size`` bytes."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._read(size)
