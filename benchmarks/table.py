"""A page of measurements, each beside a peer and its bound."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Row:
    """One line of the table.

    ``bound`` is the largest ``ours / theirs``, ``least`` the smallest; without a peer they bound ``ours`` itself.
    """

    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    bound: float | None = None
    least: float | None = None

    def cells(self) -> str:
        against = f"{self.peer} {self._number(self.theirs)}" if self.theirs is not None else self.peer or "–"
        ratio = self.ours / self.theirs if self.theirs else None
        shown = "–" if ratio is None else f"{ratio:.3f}"
        cells = (self.what, self._number(self.ours), against, shown, self._limit(), self._verdict(ratio))
        return f"| {' | '.join(cells)} |"

    def _number(self, value: float) -> str:
        if self.unit == "ms":
            digits = 1 if abs(value) >= 1 else 3
        else:
            digits = 2 if abs(value) < 1000 else 0
        return f"{value:,.{digits}f} {self.unit}"

    def _limit(self) -> str:
        unit = "" if self.theirs is not None else f" {self.unit}"
        limits = (
            (sign, limit) for sign, limit in (("≤", self.bound), ("≥", self.least)) if limit is not None
        )
        return ", ".join(f"{sign} {limit:,.7g}{unit}" for sign, limit in limits) or "–"

    def _verdict(self, ratio: float | None) -> str:
        value = ratio if self.theirs is not None else self.ours
        if value is None or (self.bound is None and self.least is None):
            return ""
        is_within = (self.bound is None or value <= self.bound) and (
            self.least is None or value >= self.least
        )
        return "met" if is_within else "**missed**"


def write(
    output: Path, title: str, versions: Sequence[str], note: str, rows: Iterable[Row], more: str = ""
) -> None:
    """Write the page to ``output`` and show it; ``more`` follows the table."""
    day = datetime.date.today().isoformat()
    text = "\n".join(
        [
            f"# {title}",
            "",
            f"{day}, Linux {platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}; "
            f"{', '.join(versions) or 'no peers installed'}. {note}",
            "",
            "| what | MultiOS | beside | ratio | bound | |",
            "|---|---|---|---|---|---|",
            *(row.cells() for row in rows),
            more,
        ]
    )
    output.write_text(text)
    print(f"\n{text}\nwritten to {output}")
