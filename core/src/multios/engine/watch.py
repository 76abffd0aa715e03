"""Watching what running containers count: limits that were met become events, and CPU readings are kept for ``stats``.

One thread reads a few small files of every container every few seconds. The kernel would tell at once (inotify on
``memory.events``, an eventfd on v1), but of memory only, and at the price of descriptors for every container.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from multios.drivers.base import Capability
from multios.engine.drivers import Drivers
from multios.engine.events import Events
from multios.engine.registry import RUNNING, Registry
from multios.errors import MultiosError
from multios.model.container import Container, Counters

log = logging.getLogger(__name__)
POLL_SECONDS = 5.0
TELL_SECONDS = 60.0
"""A container's events of one kind are at least so far apart, but for its end: none can flood the others'."""
SHORTEST_SPAN = 0.5
_KINDS = {"oom": "oom_kills", "throttled": "throttled_periods", "pids_limit": "pids_refused"}


@dataclass(slots=True)
class _Seen:
    """What is known of one run: ``told`` is in events already, ``samples`` are (time, CPU nanoseconds), newest last."""

    started: float
    told: Counters
    told_at: dict[str, float] = field(default_factory=dict)
    samples: list[tuple[float, int]] = field(default_factory=list)


class Watch:
    """Thread-safe. Events: ``oom`` (kills), ``throttled`` (periods, seconds), ``pids_limit`` (refused)."""

    def __init__(
        self, registry: Registry, drivers: Drivers, events: Events, now: Callable[[], float] = time.time
    ) -> None:
        self._registry, self._drivers, self._events, self._now = registry, drivers, events, now
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._began = now()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def begin(self) -> None:
        """Poll from now on, until :meth:`close`."""
        self._thread.start()

    def close(self) -> None:
        """Stop; a poll under way is waited for."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self.poll()
            except Exception:
                log.exception("watching containers failed")
            if self._end.wait(POLL_SECONDS):
                return

    def poll(self) -> None:
        """Read every running container once."""
        running = [container for container in self._registry.all() if container.status in RUNNING]
        for container in running:
            counters = self.counters(container)
            if counters is not None:
                self._note(container, counters, at_end=False)
        ids = {container.id for container in running}
        with self._lock:
            for container_id in self._seen.keys() - ids:
                del self._seen[container_id]

    def counters(self, container: Container) -> Counters | None:
        """A running container's, as they are now; ``None`` where its driver cannot tell or it has ended."""
        try:
            isolation = self._drivers.isolation(container)
            if Capability.STATS in isolation.capabilities:
                return isolation.counters(container.id)
        except (MultiosError, OSError) as error:
            log.debug("container %s tells no counters: %s", container.name, error)
        return None

    def earlier(self, container: Container) -> tuple[float, int]:
        """A reading of this run's CPU time, to compare one of now with: (time, nanoseconds).

        The last poll's that is old enough to tell a percentage; before the first one, the start.
        """
        with self._lock:
            seen = self._seen.get(container.id)
            samples = seen.samples if seen and seen.started == container.started else []
            old = [sample for sample in samples if self._now() - sample[0] >= SHORTEST_SPAN]
        return old[-1] if old else (container.started, 0)

    def ended(self, container: Container, counters: Counters | None) -> None:
        """The last word on a run: what has not been told is told now."""
        if counters is not None:
            self._note(container, counters, at_end=True)
        with self._lock:
            self._seen.pop(container.id, None)

    def _note(self, container: Container, counters: Counters, at_end: bool) -> None:
        now = self._now()
        told: list[tuple[str, dict[str, float]]] = []
        with self._lock:
            seen = self._seen.get(container.id)
            if seen is None or seen.started != container.started:
                # What was counted before this daemon came, an earlier one has told.
                is_known = container.started >= self._began
                seen = _Seen(container.started, Counters() if is_known else counters)
                self._seen[container.id] = seen
            if counters.cpu_nanoseconds is not None:
                seen.samples = [*seen.samples[-1:], (now, counters.cpu_nanoseconds)]
            for action, field_name in _KINDS.items():
                grown = _growth(field_name, seen.told, counters)
                is_due = at_end or now - seen.told_at.get(action, -math.inf) >= TELL_SECONDS
                if grown > 0 and is_due:
                    told.append((action, _attributes(action, seen.told, counters)))
                    seen.told_at[action] = now
                    seen.told = _with(seen.told, counters, action)
        for action, attributes in told:
            self._events.of_container(action, container, **attributes)


def _growth(name: str, before: Counters, now: Counters) -> int:
    return int(getattr(now, name) or 0) - int(getattr(before, name) or 0)


def _attributes(action: str, before: Counters, now: Counters) -> dict[str, float]:
    """What happened since it was told last."""
    if action == "oom":
        return {"kills": _growth("oom_kills", before, now)}
    if action == "pids_limit":
        return {"refused": _growth("pids_refused", before, now)}
    seconds = _growth("throttled_nanoseconds", before, now) / 1e9
    return {"periods": _growth("throttled_periods", before, now), "seconds": round(seconds, 3)}


def _with(told: Counters, now: Counters, action: str) -> Counters:
    """``told``, brought up to ``now`` in what ``action`` is about."""
    names = {_KINDS[action], *(["throttled_nanoseconds"] if action == "throttled" else [])}
    return Counters(**{name: getattr(now if name in names else told, name) for name in Counters.__slots__})
