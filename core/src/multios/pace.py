"""So many a second and no more, some at once: for whoever asks much of somebody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """A token bucket: ``rate`` a second (0: no limit), ``burst`` at once. Thread-safe."""

    def __init__(
        self,
        rate: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._burst = rate, max(1, burst)
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._tokens, self._at = float(self._burst), clock()

    def wait(self) -> None:
        """Return when the next one may begin."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            self._tokens -= 1
            debt = -self._tokens / self._rate
        if debt > 0:
            self._sleep(debt)
