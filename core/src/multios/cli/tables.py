"""Tables, times and sizes for people."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SPANS = (
    (31536000, "year"),
    (2592000, "month"),
    (604800, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns three blanks apart, as podman prints them; see :func:`harmless`."""
    lines = [[harmless(cell) for cell in line] for line in ([titles, *rows] if titles else rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    text = ""
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        text += "   ".join(cells).rstrip() + "\n"
    return text


def harmless(text: str) -> str:
    """``text`` without what a terminal would obey: images and processes choose what is shown here."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def ago(moment: float | None) -> str:
    """``3 minutes ago``; ``moment`` in seconds since the epoch."""
    return f"{span(time.time() - moment)} ago" if moment else ""


def span(seconds: float) -> str:
    """``3 minutes``."""
    for size, unit in _SPANS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    count = max(0, int(seconds))
    return f"{count} second{'' if count == 1 else 's'}"


def size(count: float | None) -> str:
    """``1.5 GB`` (powers of 1000, as podman); ``--`` for what the host cannot tell."""
    if count is None:
        return "--"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def memory(count: float | None) -> str:
    """``1.5 GiB`` (powers of 1024: limits are given so); ``--`` for what the host cannot tell."""
    if count is None:
        return "--"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"


def clip(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
