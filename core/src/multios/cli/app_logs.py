"""The logs of several containers as one, each line with whose it is."""

from __future__ import annotations

import sys
import time

from multios.app_labels import ONCE_LABEL
from multios.cli import app_project
from multios.cli.context import colour
from multios.cli.log_lines import Log, Wanted, last_lines
from multios.cli.moments import nanoseconds, stamp
from multios.cli.streams import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0
"""Between two looks for containers that have come or ended."""


def logs(values: Values, context: Context) -> int:
    """Show what the services have written, oldest first, and with ``follow`` what they write."""
    app = app_project.name(values)
    rows = app_project.rows(context, app, values["services"])
    start, end = (nanoseconds(values[key], f"--{key}") if values[key] else 0 for key in ("since", "until"))
    wanted = (stamp(start) if start else "", stamp(end) if end else "", values["timestamps"])
    sources = _sources(context, rows, values["no_log_prefix"], wanted)
    past = [
        (line, source)
        for source in sources
        for line in last_lines(source.log.lines(), source.wanted, values["tail"])
    ]
    for line, source in sorted(past, key=lambda pair: pair[0].partition(b" ")[0]):
        source.show([line])
    if values["follow"]:
        _go_on(context, app, values["services"], sources, values["no_log_prefix"], wanted)
    return 0


class Following:
    """Shows what containers write from ``since`` (seconds since the epoch) on."""

    def __init__(self, context: Context, rows: Sequence[dict[str, Any]], since: float) -> None:
        self._context = context
        self._sources = _sources(context, rows, False, (stamp(int(since * 1e9)), "", False))

    def until_all_ended(self) -> None:
        """Block until none of them runs."""
        ids = [source.id for source in self._sources]
        self.until(at_times(lambda: not is_running(self._context, ids)))

    def until(self, over: Callable[[], bool]) -> None:
        """Block until it is over, and what has been written by then is shown."""
        while True:
            is_last = over()  # before reading: what was written until then is read
            for source in self._sources:
                source.read_on()
            if is_last:
                return
            time.sleep(POLL_SECONDS)


def _go_on(
    context: Context,
    app: str,
    services: Sequence[str],
    sources: list[_Source],
    plain: bool,
    wanted: tuple[str, str, bool],
) -> None:
    """Until nothing of the app runs any more; containers that come are followed too."""
    while True:
        rows = app_project.rows(context, app)
        rows = [row for row in rows if not services or app_project.service_of(row) in services]
        known = {source.id for source in sources}
        sources += _sources(context, [row for row in rows if row["id"] not in known], plain, wanted)
        alive = any(row["status"] in ("running", "paused") for row in rows)
        deadline = time.monotonic() + LOOK_SECONDS
        while True:
            for source in sources:
                source.read_on()
            if not alive:
                return
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)


def at_times(over: Callable[[], bool]) -> Callable[[], bool]:
    """The same question, which is asked only every ``LOOK_SECONDS``; between, the answer is no."""
    next_look = time.monotonic()

    def asked() -> bool:
        nonlocal next_look
        if time.monotonic() < next_look:
            return False
        next_look = time.monotonic() + LOOK_SECONDS
        return over()

    return asked


def is_running(context: Context, ids: Collection[str]) -> bool:
    """Whether one of these containers runs."""
    rows = context.call("containers.list", {"all": True, "filters": {"id": list(ids)}}) if ids else []
    return any(row["status"] in ("running", "paused") for row in rows)


def _sources(
    context: Context, rows: Sequence[dict[str, Any]], plain: bool, wanted: tuple[str, str, bool]
) -> list[_Source]:
    names = [_shown(row) for row in rows]
    width = max(map(len, names), default=0)
    return [
        _Source(context, row["id"], "" if plain else name.ljust(width), number, Wanted(*wanted))
        for number, (row, name) in enumerate(zip(rows, names, strict=True))
    ]


def prefix(name: str, number: int) -> bytes:
    """What stands before the lines of the ``number``-th of several logs."""
    code = _COLOURS[number % len(_COLOURS)]
    text = f"\x1b[{code}m{name} |\x1b[0m " if colour(sys.stdout) else f"{name} | "
    return text.encode()


def _shown(row: dict[str, Any]) -> str:
    """``web-1``; what ``app run`` made goes by its own name."""
    if ONCE_LABEL in row["labels"]:
        return str(row["name"])
    return f"{app_project.service_of(row)}-{app_project.number_of(row)}"


class _Source:
    """One container's log and how far it is shown."""

    def __init__(self, context: Context, ref: str, name: str, number: int, wanted: Wanted) -> None:
        self.id, self.wanted = ref, wanted
        self.log = Log(context, ref)
        self._prefix, self._begun = prefix(name, number) if name else b"", False

    def show(self, lines: Iterable[bytes]) -> None:
        """Write log lines with whose they are; one that was written in parts has that once."""
        for line in lines:
            descriptor, data = self.wanted.show(line)
            write_all(descriptor, data if self._begun else self._prefix + data)
            self._begun = not data.endswith(b"\n")

    def read_on(self) -> None:
        """Show what was written since."""
        self.show(line for line in self.log.lines() if self.wanted.has(line))
