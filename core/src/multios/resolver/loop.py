"""One thread, one epoll(7): callbacks for descriptors, and a tick while something waits."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable

TICK_SECONDS = 0.1

Callback = Callable[[int], None]


class Loop:
    """Runs until :meth:`stop`. A callback that raises is complained of, and the others go on."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._ticks: list[Callable[[], bool]] = []
        self._running = True

    def add(self, descriptor: int, callback: Callback, events: int = select.EPOLLIN) -> None:
        """Call ``callback`` with the events when there are any."""
        self._epoll.register(descriptor, events)
        self._callbacks[descriptor] = callback

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events."""
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor, before it is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def every_tick(self, action: Callable[[], bool]) -> None:
        """Call ``action`` some ten times a second as long as one of them says that something waits."""
        self._ticks.append(action)

    def stop(self) -> None:
        """Leave :meth:`run`."""
        self._running = False

    def run(self) -> None:
        """Serve."""
        while self._running:
            waits = [action() for action in self._ticks]
            for descriptor, events in self._epoll.poll(TICK_SECONDS if any(waits) else None):
                callback = self._callbacks.get(descriptor)
                if callback is None:
                    continue  # removed by one before it
                try:
                    callback(events)
                except Exception as error:
                    sys.stderr.write(f"resolver: {type(error).__name__}: {error}\n")
