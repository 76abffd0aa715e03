"""One thread for everything that is due some time later."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
_FEW = 64
"""So many cancelled timers may lie about before they are looked for."""


class Timer:
    """Something due; :meth:`Timers.cancel` takes it back."""

    __slots__ = ("action", "order", "when")

    def __init__(self, when: float, order: int, action: Callable[[], object]) -> None:
        self.when, self.order = when, order
        self.action: Callable[[], object] | None = action

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.order) < (other.when, other.order)


class Timers:
    """Thread-safe. Actions are called one after another in one thread, so they must be short."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._changed = threading.Condition()
        self._heap: list[Timer] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)

    def begin(self) -> None:
        """Call what is due from now on, until :meth:`close`."""
        self._thread.start()

    def close(self) -> None:
        """Call nothing any more; an action under way is waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def after(self, seconds: float, action: Callable[[], object]) -> Timer:
        """Have ``action`` called so many seconds from now."""
        timer = Timer(self.now() + seconds, next(self._order), action)
        with self._changed:
            heapq.heappush(self._heap, timer)
            if self._heap[0] is timer:  # the thread sleeps until a later one
                self._changed.notify()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Not to be called any more; one that has been called already is no error."""
        with self._changed:
            if timer.action is None:
                return
            timer.action = None
            self._cancelled += 1
            if self._cancelled > max(_FEW, len(self._heap) // 2):
                self._heap = [item for item in self._heap if item.action is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def call_due(self) -> float | None:
        """Call what is due; seconds until the next is, ``None`` when there is none."""
        while True:
            with self._changed:
                if self._closed or not self._heap:
                    return None
                left = self._heap[0].when - self.now()
                if left > 0:
                    return left
                timer = heapq.heappop(self._heap)
                action, timer.action = timer.action, None
                if action is None:
                    self._cancelled -= 1
                    continue
            try:
                action()
            except Exception:
                log.exception("a timer's action failed")

    def _run(self) -> None:
        while True:
            self.call_due()
            with self._changed:
                if self._closed:
                    return
                left = self._heap[0].when - self.now() if self._heap else None
                if left is None or left > 0:
                    self._changed.wait(left)
