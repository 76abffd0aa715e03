"""A lock for each of many things."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from multios.build.run_mounts import CacheDirectories
from multios.build.sandbox import Cancelled
from multios.dockerfile.syntax import Mount
from multios.engine.locks import KeyedLocks


def test_one_thread_at_a_time_for_one_key_and_none_waits_for_another_key() -> None:
    locks, order = KeyedLocks(), []

    def second() -> None:
        with locks.holding("a"):
            order.append("second")

    with locks.holding("a"):
        thread = threading.Thread(target=second)
        thread.start()
        with locks.holding("b"):
            order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_a_check_that_raises_ends_the_wait_and_the_lock_is_free_afterwards() -> None:
    locks = KeyedLocks()

    def check() -> None:
        raise InterruptedError

    with locks.holding("a"):
        with pytest.raises(InterruptedError), locks.holding("a", check):
            raise AssertionError("it is held by another")
    with locks.holding("a", check):
        pass


def test_a_build_that_nobody_wants_any_more_does_not_wait_for_a_locked_cache(tmp_path: Path) -> None:
    caches = CacheDirectories(tmp_path)
    mount = Mount("cache,target=/c", "cache", "/c", sharing="locked")
    with caches.taking(mount, Path.mkdir, lambda: False) as path:
        with pytest.raises(Cancelled), caches.taking(mount, Path.mkdir, lambda: True):
            raise AssertionError("it is held by another")
    with caches.taking(mount, Path.mkdir, lambda: False) as again:
        assert again == path
