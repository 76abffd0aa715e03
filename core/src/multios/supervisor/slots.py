"""Warm slots: children cloned ahead, already in their namespaces and cgroups, with no id map yet.

Joining a cgroup of version 1 on an idle host waits 10 to 24 ms for the kernel; a slot has that behind it.
"""

from __future__ import annotations

import os

from multios.supervisor.complaint import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from multios.supervisor.birth import Child, Nursery

_EVERYWHERE = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup")
USUAL = frozenset(_EVERYWHERE + (("time",) if os.path.exists("/proc/self/ns/time") else ()))
"""What containers ask for unless told otherwise."""
REFILL_SECONDS = 0.012
"""So long after a slot was taken the next is made: its taker has been launched, which it would have slowed down,
and a start that follows at once finds it."""
RETRY_SECONDS = 10.0


class Slots:
    """At most ``wanted`` children that wait for a container."""

    def __init__(self, nursery: Nursery, wanted: int, discard: Callable[[str], None]) -> None:
        self._nursery = nursery
        self._wanted = wanted
        self._discard = discard
        self._ready: list[Child] = []
        self._coming = 0
        self._refill_when_quiet()

    @property
    def pids(self) -> list[int]:
        """The waiting children; 0 for one that is on its way."""
        return [slot.pid for slot in self._ready] + [0] * self._coming

    def take(self, namespaces: frozenset[str]) -> Child | None:
        """A waiting child with exactly these namespaces, the caller's from now on, else ``None``."""
        if namespaces != USUAL or not self._ready:
            return None
        self._nursery.loop.later(REFILL_SECONDS, self._refill)
        return self._ready.pop()

    def _refill_when_quiet(self) -> None:
        """Make one more as soon as nobody has to wait for it."""
        if self._wanted:
            self._nursery.loop.when_quiet(self._refill)

    def close(self) -> None:
        """Let all waiting children go, for good."""
        self._wanted = 0
        for slot in self._ready:
            slot.hang_up()

    def _refill(self) -> None:
        if len(self._ready) + self._coming < self._wanted:
            self._coming += 1
            try:
                self._nursery.clone(new_group(), USUAL, self._born)
            except OSError as error:
                self._failed(error)

    def _born(self, slot: Child, error: dict[str, Any] | None) -> None:
        if error is not None:
            self._discard(slot.group)
            self._failed(error)
            return
        self._coming -= 1
        slot.ended = lambda exit_code, number: self._ended(slot)
        self._ready.append(slot)
        if not self._wanted:
            slot.hang_up()
        self._refill_when_quiet()

    def _failed(self, error: object) -> None:
        self._coming -= 1
        complain("warm slot", error)
        self._nursery.loop.later(RETRY_SECONDS, self._refill_when_quiet)

    def _ended(self, slot: Child) -> None:
        """A slot died while it waited: someone killed it, or we are leaving."""
        self._ready.remove(slot)
        slot.hang_up()
        os.close(slot.pidfd)
        self._discard(slot.group)
        if self._wanted:
            self._nursery.loop.later(RETRY_SECONDS, self._refill_when_quiet)


def new_group() -> str:
    """A fresh cgroup name: it starts with this process's id, so that a successor knows whose it was."""
    return f"{os.getpid()}-{os.urandom(6).hex()}"
