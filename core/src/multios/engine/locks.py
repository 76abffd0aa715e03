"""A lock for each of many things, made when it is first wanted and gone when nobody wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

_CHECK_SECONDS = 0.1


class KeyedLocks:
    """``with locks.holding(key)``: only one thread at a time for one key."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextmanager
    def holding(self, key: Hashable, check: Callable[[], None] | None = None) -> Iterator[None]:
        """Wait for the key and hold it; not reentrant. ``check`` is called now and then, and ends the wait by raising."""
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            while not lock.acquire(timeout=_CHECK_SECONDS if check else -1):
                if check:
                    check()
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._guard:
                lock, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = (lock, users - 1)
