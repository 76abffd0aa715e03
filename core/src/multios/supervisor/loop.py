"""The event loop: descriptors that became ready, timers, and work that waits for a quiet moment."""

from __future__ import annotations

import heapq
import select
import time

from multios.supervisor.complaint import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Watcher = Callable[[int], None]
    Job = Callable[[], None]

READ, WRITE, ENDED = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR
QUIET_SECONDS = 0.03
PATIENCE_SECONDS = 0.5


class Loop:
    """epoll(7) and a clock. A callback that raises is complained about and nothing else."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._timers: list[tuple[float, int, Job]] = []
        self._quiet: list[tuple[float, Job]] = []
        self._count = 0
        self._last_event = 0.0
        self.running = True

    def watch(self, descriptor: int, events: int, watcher: Watcher) -> None:
        """Call ``watcher(events)`` whenever one of ``events`` (or the descriptor's end) is there."""
        self._epoll.register(descriptor, events)
        self._watchers[descriptor] = watcher

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events; 0 for none but the end."""
        self._epoll.modify(descriptor, events)

    def unwatch(self, descriptor: int) -> None:
        """Stop watching, before the descriptor is closed; one that is not watched is no error."""
        if self._watchers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def later(self, seconds: float, job: Job) -> None:
        """Run ``job`` once, in ``seconds``."""
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, job))

    def when_quiet(self, job: Job) -> None:
        """Run ``job`` once nothing has happened for a moment, at the latest after PATIENCE_SECONDS.

        What nobody waits for must not make anybody wait.
        """
        self._quiet.append((time.monotonic() + PATIENCE_SECONDS, job))

    def run(self) -> None:
        """Go round until ``running`` is false."""
        while self.running:
            self.turn()

    def turn(self) -> None:
        """One round: wait, then run what is due."""
        ready = self._epoll.poll(self._wait_seconds())
        now = time.monotonic()
        if ready:
            self._last_event = now
        for descriptor, events in ready:
            watcher = self._watchers.get(descriptor)
            if watcher is not None:  # an earlier callback of this round may have closed it
                guard(watcher, events)
        while self._timers and self._timers[0][0] <= now:
            guard(heapq.heappop(self._timers)[2])
        if self._quiet and (now >= self._last_event + QUIET_SECONDS or now >= self._quiet[0][0]):
            guard(self._quiet.pop(0)[1])

    def _wait_seconds(self) -> float:
        due = [self._timers[0][0]] if self._timers else []
        if self._quiet:
            due.append(min(self._last_event + QUIET_SECONDS, self._quiet[0][0]))
        return max(0.0, min(due) - time.monotonic()) if due else -1.0


def guard(callback: Callable[..., None], *arguments: object) -> None:
    """Call, and complain about whatever it raises: one container's trouble must not become all others'."""
    try:
        callback(*arguments)
    except Exception as error:  # the last line of defence
        complain(getattr(callback, "__qualname__", "a job"), error)
