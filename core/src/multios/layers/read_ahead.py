"""A stream prepared in a thread while its reader works on what came before."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

_CHUNKS_AHEAD = 8


def read_ahead(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same chunks; making the next ones overlaps with using these. An error of theirs is raised in its place.

    Worth it where making them leaves Python's lock free, as decompressing does. A reader that stops early leaves the
    thread waiting until the process ends.
    """
    ready: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
    room = threading.Semaphore(_CHUNKS_AHEAD)

    def make() -> None:
        try:
            for chunk in chunks:
                room.acquire()
                ready.put(chunk)
            ready.put(None)
        except BaseException as error:  # raised in the reader's thread
            ready.put(error)

    threading.Thread(target=make, name="read-ahead", daemon=True).start()
    while (item := ready.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        room.release()
        yield item


class Digested:
    """``read`` with a digest of all that it gave."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._hash = hashlib.sha256()

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes; none at the end."""
        data = self._read(count)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        """``sha256:…`` of what was read."""
        return "sha256:" + self._hash.hexdigest()
