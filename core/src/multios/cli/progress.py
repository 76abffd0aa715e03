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
    """Shows reports ``{"what", "done", "total"}``; a total of 0 is unknown. Each thing has a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._shown: dict[str, float] = {}
        """What has a line, from the top down, and when it was last written."""

    def show(self, report: dict[str, Any]) -> None:
        """Show one report."""
        what, done, total = str(report.get("what", "")), report.get("done") or 0, report.get("total") or 0
        if self._terminal:
            self._draw(what, _line(what, done, total))
        elif what not in self._shown or time.monotonic() - self._shown[what] >= _PLAIN_SECONDS:
            share = f" ({100 * done // total} %)" if total and what in self._shown else ""
            self._stream.write(f"{what}{share}\n")
            self._stream.flush()
            self._shown[what] = time.monotonic()

    def _draw(self, what: str, line: str) -> None:
        """Write a line anew where it is, or below the others; the cursor stays in the last one (ECMA-48, CUU and CUD)."""
        columns, rows = _size()
        if what not in self._shown:
            self._stream.write("\n" if self._shown else "")
            self._shown[what] = 0.0
        up = len(self._shown) - 1 - list(self._shown).index(what)
        if up >= rows:
            return  # it has left the screen
        there, back = (f"\x1b[{up}A", f"\x1b[{up}B") if up else ("", "")
        self._stream.write(f"{there}\r\x1b[K{clip(line, columns - 1)}{back}")
        self._stream.flush()

    def end(self) -> None:
        """Leave the lines."""
        if self._terminal and self._shown:
            self._stream.write("\n")
            self._stream.flush()
        self._shown.clear()


def _line(what: str, done: float, total: float) -> str:
    in_bytes = max(done, total) > _BYTES
    if not total:
        return f"{what} {size(done) if in_bytes else done}" if done else what
    share = min(1.0, done / total)
    filled = int(share * _BAR)
    amount = f"{size(done)} of {size(total)}" if in_bytes else f"{done} of {total}"
    return f"[{'█' * filled}{'·' * (_BAR - filled)}] {share:4.0%} {amount} {what}"


def _size() -> tuple[int, int]:
    """Columns and rows of the terminal."""
    try:
        size = os.get_terminal_size(2)
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24
