"""What a build tells while it goes on: numbered steps, their output, and how each ended."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

Tell = Callable[[Mapping[str, Any]], None]
KEPT_LINES = 20


class Report:
    """Numbers steps; ``tell`` gets what happens, one call at a time.

    ``{"step": n, "name": …}`` begins a step, ``{"step": n, "line": …}`` is of its output, and ``{"step": n, "end": …}``
    with ``cached``, ``done``, ``failed`` or ``cancelled`` and ``seconds`` ends it. ``{"note": …}`` is of no step.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._count = 0

    def begin(self, name: str) -> StepReport:
        """A new step."""
        with self._lock:
            self._count += 1
            number = self._count
            self._tell({"step": number, "name": name})
        return StepReport(self, number)

    def note(self, text: str) -> None:
        """Something that the user should know of the whole build."""
        with self._lock:
            self._tell({"note": text})

    def say(self, number: int, facts: Mapping[str, Any]) -> None:
        """Tell more of a step."""
        with self._lock:
            self._tell({"step": number, **facts})


class StepReport:
    """One step's."""

    def __init__(self, report: Report, number: int) -> None:
        self._report, self._number = report, number
        self._began = time.monotonic()
        self._doing = ""
        self.last: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)

    def line(self, text: str) -> None:
        """A line of a command's output."""
        self.last.append(text)
        self._report.say(self._number, {"line": text})

    def progress(self, what: str, done: int, total: int) -> None:
        """How far fetching or unpacking is; only that each has begun is told."""
        if what != self._doing:
            self._doing = what
            self._report.say(self._number, {"line": what})

    def end(self, how: str) -> None:
        """It is over: ``cached``, ``done``, ``failed`` or ``cancelled``."""
        seconds = round(time.monotonic() - self._began, 2)
        self._report.say(self._number, {"end": how, "seconds": seconds})
