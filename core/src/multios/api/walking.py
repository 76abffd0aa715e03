"""``create --step`` and ``start --step``: the client is told of every step, and the next one waits for its word."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from multios.drivers.isolation import Launched
from multios.engine.steps import watched
from multios.errors import Conflict
from multios.explain import step_words

if TYPE_CHECKING:
    from multios.api.server import Call

PATIENCE = 600.0
"""Seconds for which a step waits. The container's lock is held meanwhile, nobody else's."""


@contextmanager
def walked(call: Call, last: str) -> Iterator[None]:
    """With the parameter ``step`` and a descriptor: steps are items, and a byte from the descriptor lets the next begin.

    Its end, or the client's, gives up: what was done is undone. After the step ``last`` nothing waits any more: the
    container is everybody's then. Without ``step`` nothing is different.
    """
    if not call.flag("step"):
        yield
        return
    walk = _Walk(call, call.descriptors(1)[0], last)
    try:
        with watched(walk):
            yield
    finally:
        walk.close()


class _Walk:
    def __init__(self, call: Call, descriptor: int, last: str) -> None:
        self._call, self._descriptor, self._last = call, descriptor, last
        self._pid, self._pidfd = 0, -1
        self._number = 0

    def __call__(self, step: str, result: object) -> None:
        if isinstance(result, Launched) and result.pid:
            self._pid, self._pidfd = result.pid, os.pidfd_open(result.pid)
        self._number += 1
        did, see = step_words.told(step, result, self._pid)
        waits = step != self._last
        self._call.item({"number": self._number, "step": step, "did": did, "see": see, "waits": waits})
        if waits:
            self._wait()

    def _wait(self) -> None:
        """Return when the client says so; an end of the client, the process or the patience raises ``Conflict``."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if self._pidfd >= 0:
            poll.register(self._pidfd, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(PATIENCE * 1000)]
        if not ready:
            raise Conflict(f"nobody went on for {PATIENCE:.0f} s: all steps were undone", "begin again")
        if self._pidfd in ready:
            raise Conflict("the container's process was ended between two steps", "begin again")
        if not os.read(self._descriptor, 1):
            raise Conflict("given up between two steps: all of them were undone", "begin again")

    def close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
