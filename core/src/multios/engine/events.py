"""What happened, in order: kept on disk, told to whoever listens."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from multios.app_labels import FINGERPRINT_LABEL
from multios.engine.event_log import EventLog
from multios.engine.event_selection import Selection
from multios.model.container import Container

log = logging.getLogger(__name__)
ALIVE_CHECK_SECONDS = 5.0
LARGEST_LABELS = 4096
"""Characters of a container's labels that its events repeat; with more they have none, or few would fit in the log."""
_TOLD_SECONDS = 5.0


class Leaving(Exception):
    """The daemon ends, and with it what it was telling; the next one goes on after any event."""


class Events:
    """The engine's event stream. Events are plain mappings as ``multios_event`` describes them.

    Publishing is quick and calls nobody, so it may be done under any lock: plugins are told by a thread, in order.
    """

    def __init__(self, kept: EventLog, broadcast: Callable[[dict[str, Any]], None]) -> None:
        self._log, self._broadcast = kept, broadcast
        self._changed = threading.Condition()
        self._closed = False
        self._teller = threading.Thread(target=self._tell, args=(kept.last,), name="events", daemon=True)
        self._teller.start()

    def publish(
        self, kind: str, action: str, subject: str, name: str, at: float = 0.0, **attributes: Any
    ) -> None:
        """Keep an event, which happened at that time, by default now, and wake who listens."""
        with self._changed:
            self._log.append(
                {
                    "sequence": self._log.last + 1,
                    "type": kind,
                    "action": action,
                    "id": subject,
                    "name": name,
                    "time": at or time.time(),
                    "attributes": attributes,
                }
            )
            self._changed.notify_all()

    def of_container(self, action: str, container: Container, at: float = 0.0, **attributes: Any) -> None:
        """Publish what happened to a container, with its owner, image and labels, but what says only of what it is made."""
        config = container.config
        about: dict[str, Any] = {"owner": container.owner, "image": config.image}
        labels = {key: value for key, value in config.labels.items() if key != FINGERPRINT_LABEL}
        if 0 < sum(len(key) + len(value) for key, value in labels.items()) <= LARGEST_LABELS:
            about["labels"] = labels
        # A container that is being removed has its name in its config only.
        self.publish("container", action, container.id, config.name, at, **about, **attributes)

    def close(self) -> None:
        """End every :meth:`follow`, and see that plugins were told of all."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._teller.join(_TOLD_SECONDS)
        self._log.close()

    def kept(self) -> Generator[dict[str, Any], None, None]:
        """Every event that is still there, the oldest first."""
        with closing(self._log.reader()) as reader:
            yield from reader.fresh()

    def follow(
        self, selection: Selection, follow: bool, alive: Callable[[], bool]
    ) -> Generator[dict[str, Any], None, None]:
        """The events that are asked for; with ``follow`` also those to come, until ``selection.until`` is over.

        ``alive`` is asked now and then whether anybody listens. Raises ``Leaving`` when the daemon ends first.
        """
        with closing(self._log.reader(selection.after)) as reader:
            while True:
                with self._changed:
                    seen, is_last = self._log.last, self._closed
                yield from (event for event in reader.fresh() if selection.has(event))
                left = selection.until - time.time() if selection.until else ALIVE_CHECK_SECONDS
                if not follow or left <= 0 or not alive():
                    return
                if is_last:
                    raise Leaving
                with self._changed:
                    if self._log.last == seen and not self._closed:
                        self._changed.wait(min(left, ALIVE_CHECK_SECONDS))

    def _tell(self, after: int) -> None:
        try:
            for event in self.follow(Selection(after=after), True, lambda: True):
                self._broadcast(event)
        except Leaving:
            return
        except Exception:
            log.exception("plugins are told of no more events")
