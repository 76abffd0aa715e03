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
    """One line of the table. ``bound`` is the largest ``ours / theirs``, or the largest ``ours`` without a peer."""

    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    bound: float | None = None

    def cells(self) -> str:
        digits = 1 if self.unit == "ms" else 2
        number = f"{self.ours:.{digits}f} {self.unit}"
        against = (
            f"{self.peer} {self.theirs:.{digits}f} {self.unit}"
            if self.theirs is not None
            else self.peer or "–"
        )
        ratio = self.ours / self.theirs if self.theirs else None
        value = ratio if self.theirs is not None else self.ours
        limit = (
            "–"
            if self.bound is None
            else f"≤ {self.bound:g}{'' if self.theirs is not None else ' ' + self.unit}"
        )
        verdict = (
            "" if self.bound is None or value is None else ("met" if value <= self.bound else "**missed**")
        )
        return f"| {self.what} | {number} | {against} | {'–' if ratio is None else f'{ratio:.3f}'} | {limit} | {verdict} |"


def write(output: Path, title: str, versions: Sequence[str], note: str, rows: Iterable[Row]) -> None:
    """Write the page to ``output`` and show it."""
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
            "",
        ]
    )
    output.write_text(text)
    print(f"\n{text}\nwritten to {output}")
