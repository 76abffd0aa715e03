"""Courses of an orchestrator that works in the client, such as a cluster: which one, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence

from multios.drivers.base import Capability
from multios.drivers.orchestrator import Action, OrchestratorDriver
from multios.errors import InvalidInput, MultiosError, Unsupported
from multios.plugins import in_client
from multios_courses.starting import News, Outcome
from multios_courses.telling import QueueBar


def driver(name: str, options: Sequence[str]) -> OrchestratorDriver:
    """The orchestrator ``name`` with ``KEY=VALUE`` settings. Raises ``Unsupported`` for one that runs no courses."""
    settings = {}
    for option in options:
        key, separator, value = option.partition("=")
        if not (separator and key):
            raise InvalidInput(f"--orchestrator-opt: {option!r} is not KEY=VALUE", "write context=NAME")
        settings[key] = value
    found = in_client.orchestrator(name, settings)
    if found is None or Capability.COURSES not in found.capabilities:
        raise Unsupported(
            f"the orchestrator {name!r} runs no courses", "leave --orchestrator out for courses on this host"
        )
    return found


class Progress:
    """Hears what an orchestrator does, and shows it as the queue of a host does. ``total`` are the subjects that it will do."""

    def __init__(self, verb: str, total: int) -> None:
        self._bar, self._total = QueueBar(sys.stderr, verb), total
        self._begun = time.monotonic()
        self.outcome = Outcome()
        self.others: list[str] = []
        """Kinds of what was done and is no student's."""

    def __call__(self, action: Action, what: str) -> None:
        """One of the orchestrator's news."""
        if action.verb == "keep":
            return
        if what == "done":
            self.outcome.done.append(action.subject) if action.service else self.others.append(action.kind)
        elif what != "begun":
            self.outcome.failed.append((action.subject, MultiosError(what)))
        done = len(self.outcome.done) + len(self.outcome.failed) + len(self.others)
        self.outcome.seconds = time.monotonic() - self._begun
        left = self.outcome.seconds / done * (self._total - done) if done else None
        self._bar(News(done, self._total, action.subject, left))

    def end(self) -> None:
        """Take the bar away."""
        self._bar.end()


def counted(kinds: Iterable[str]) -> str:
    """``3 namespaces, 1 priority class``-like, by kinds as the orchestrator calls them."""
    found = list(kinds)
    return ", ".join(f"{found.count(kind)} {kind}" for kind in dict.fromkeys(found)) or "nothing"
