"""How far something is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time

from multios.cli.tables import clip, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

_BAR = 24
_BYTES = 100_000
"""Totals above this are bytes; below, things that are counted."""
_PLAIN_SECONDS = 10.0


class Progress:
    """Shows reports ``{"what", "done", "total"}``; a total of 0 is unknown."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._what = ""
        self._shown = 0.0

    def show(self, report: dict[str, Any]) -> None:
        """Show one report."""
        what, done, total = str(report.get("what", "")), report.get("done") or 0, report.get("total") or 0
        if self._terminal:
            if self._what and what != self._what:
                self._stream.write("\n")
            self._stream.write("\r\x1b[K" + clip(_line(what, done, total), _width() - 1))
            self._stream.flush()
        elif what != self._what or time.monotonic() - self._shown >= _PLAIN_SECONDS:
            share = f" ({100 * done // total} %)" if total and what == self._what else ""
            self._stream.write(f"{what}{share}\n")
            self._stream.flush()
            self._shown = time.monotonic()
        self._what = what

    def end(self) -> None:
        """Leave the line."""
        if self._terminal and self._what:
            self._stream.write("\n")
            self._stream.flush()
        self._what = ""


def _line(what: str, done: float, total: float) -> str:
    in_bytes = max(done, total) > _BYTES
    if not total:
        return f"{what} {size(done) if in_bytes else done}" if done else what
    share = min(1.0, done / total)
    filled = int(share * _BAR)
    amount = f"{size(done)} of {size(total)}" if in_bytes else f"{done} of {total}"
    return f"[{'█' * filled}{'·' * (_BAR - filled)}] {share:4.0%} {amount} {what}"


def _width() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
