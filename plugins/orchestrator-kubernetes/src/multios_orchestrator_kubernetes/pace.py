"""How often requests are sent: a token bucket that threads share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """``burst`` requests at once, and ``rate`` a second in the long run; a rate of 0 is without limit."""

    def __init__(
        self,
        rate: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._burst = rate, max(burst, 1)
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._tokens, self._filled = float(self._burst), clock()

    def take(self) -> None:
        """Wait for a turn. Turns are given in the order in which they are asked for."""
        if self._rate <= 0:
            return
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
            self._filled = now
            self._tokens -= 1
            wait = -self._tokens / self._rate
        if wait > 0:
            self._sleep(wait)
