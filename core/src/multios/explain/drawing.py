"""Boxes, labels and arrows in SVG, narrow enough for a telephone: one unit is about a pixel there.

Labels are in a font of fixed width, so that their width is known without a browser; one that is too long is cut.
Everything written goes through :func:`escaped`.
"""

from __future__ import annotations

from html import escape
from unicodedata import east_asian_width

from multios.cli.tables import harmless

WIDTH = 360.0
"""Of every drawing."""
SIZE = 11.0
_ADVANCE = 0.62
"""Width of a letter by the size of the type, a little more than the usual fonts of fixed width have."""
PADDING = 7.0


def escaped(text: str) -> str:
    """``text`` for HTML and SVG, attributes too; without control characters and those that turn the writing round."""
    return escape(harmless(text), quote=True)


def columns(text: str) -> int:
    """How many letters' room it takes: those of East Asia take two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def fitted(text: str, width: float, size: float = SIZE, end: bool = False) -> str:
    """``text`` cut to ``width`` units; with ``end`` its end is kept, as of a path."""
    text = harmless(text)
    room = int(width / (size * _ADVANCE))
    if columns(text) <= room:
        return text
    letters = text[::-1] if end else text
    kept = ""
    for letter in letters:
        if columns(kept) + columns(letter) > room - 1:
            break
        kept += letter
    return "…" + kept[::-1] if end else kept + "…"


class Drawing:
    """Shapes in the order in which they lie over one another; ``height`` is what has been used."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shapes: list[str] = []
        self.height = 0.0

    def box(
        self, left: float, top: float, width: float, lines: list[str], kind: str = "", end: bool = False
    ) -> float:
        """A box with a line of text each, the first one bold; the whole text shows when pointed at. Its lower edge."""
        height = len(lines) * (SIZE + 4) + 2 * PADDING - 4
        room = width - 2 * PADDING
        texts = ""
        for number, line in enumerate(lines):
            weight = ' class="first"' if number == 0 else ""
            baseline = top + PADDING + SIZE - 2 + number * (SIZE + 4)
            shown = escape(fitted(line, room, end=end and number > 0), quote=True)
            texts += f'<text x="{left + PADDING:g}" y="{baseline:g}"{weight}>{shown}</text>'
        whole = escaped(" — ".join(lines))
        self._shapes.append(
            f'<g class="box {kind}"><title>{whole}</title>'
            f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="4"/>{texts}</g>'
        )
        self._use(top + height)
        return top + height

    def label(self, left: float, baseline: float, text: str, width: float) -> None:
        """Text that stands alone."""
        shown = escape(fitted(text, width), quote=True)
        self._shapes.append(f'<text class="label" x="{left:g}" y="{baseline:g}">{shown}</text>')
        self._use(baseline + 4)

    def arrow(self, x: float, top: float, bottom: float) -> None:
        """Down, from edge to edge."""
        self._shapes.append(
            f'<path class="arrow" d="M{x:g} {top:g}V{bottom - 5:g}"/>'
            f'<path class="head" d="M{x - 4:g} {bottom - 6:g}L{x:g} {bottom:g}L{x + 4:g} {bottom - 6:g}z"/>'
        )
        self._use(bottom)

    def border(self, y: float, text: str) -> None:
        """A dashed line across, with what is below it."""
        self._shapes.append(f'<path class="border" d="M0 {y:g}H{WIDTH:g}"/>')
        self.label(WIDTH / 2 + 12, y + SIZE + 3, text, WIDTH / 2 - 16)

    def svg(self) -> str:
        """The element."""
        title = escaped(self._title)
        return (
            f'<svg viewBox="0 0 {WIDTH:g} {self.height + 4:g}" role="img" aria-label="{title}">'
            f"{''.join(self._shapes)}</svg>"
        )

    def _use(self, bottom: float) -> None:
        self.height = max(self.height, bottom)
