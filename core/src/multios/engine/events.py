"""What happened, in order: kept for a while, told to whoever listens."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from multios.errors import InvalidInput

KEPT = 10_000
FILTERS = frozenset({"type", "action", "event", "name", "container", "id"})


class Events:
    """The engine's event stream. Events are plain mappings as ``multios_event`` describes them."""

    def __init__(self, broadcast: Callable[[dict[str, Any]], None]) -> None:
        self._broadcast = broadcast
        self._changed = threading.Condition()
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._count = 0
        self._closed = False

    def publish(self, kind: str, action: str, subject: str, name: str, **attributes: Any) -> None:
        """Record an event and tell everyone, plugins included."""
        event = {
            "type": kind,
            "action": action,
            "id": subject,
            "name": name,
            "time": time.time(),
            "attributes": attributes,
        }
        with self._changed:
            self._events.append(event)
            self._count += 1
            self._changed.notify_all()
        self._broadcast(event)

    def close(self) -> None:
        """End every :meth:`follow`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def follow(
        self, since: float, filters: Mapping[str, Any], follow: bool, alive: Callable[[], bool]
    ) -> Iterator[dict[str, Any]]:
        """Events since a time that match every filter of :data:`FILTERS`; with ``follow`` also those to come."""
        unknown_filters = sorted(filters.keys() - FILTERS)
        if unknown_filters:
            raise InvalidInput(
                f"no such filter: {unknown_filters[0]!r}", f"valid: {', '.join(sorted(FILTERS))}"
            )
        seen = 0
        while True:
            with self._changed:
                fresh = list(self._events)[-(self._count - seen) :] if self._count > seen else []
                seen = self._count
                ended = self._closed
                if not fresh and follow and not ended:
                    self._changed.wait(5)
            yield from (event for event in fresh if event["time"] >= since and _matches(event, filters))
            if not follow or (not fresh and ended) or not alive():
                return


def _matches(event: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    for key, wanted in filters.items():
        choices = [str(choice) for choice in (wanted if isinstance(wanted, list) else [wanted])]
        value = str(event[{"event": "action", "container": "name"}.get(key, key)])
        if not any(value == choice or (key == "id" and value.startswith(choice)) for choice in choices):
            return False
    return True
