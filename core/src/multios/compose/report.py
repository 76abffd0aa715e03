"""Warnings and errors about places in files."""

from __future__ import annotations

from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.compose.tree import Place

MOST_WARNINGS = 200


class Report:
    """Collects warnings, each once, in the order in which they arose."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep ``text``, which names its place."""
        if text not in self.warnings and len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)


def at(place: Place, path: str = "") -> str:
    """``compose.yaml:12: services.web.ports[0]``"""
    where = f"{place[0]}:{place[1]}" if place[1] else place[0]
    return f"{where}: {path}" if path else where


def wrong(place: Place, path: str, cause: str, remedy: str) -> InvalidInput:
    """The error that says what is wrong at a place, in one line each."""
    return InvalidInput(f"{at(place, path)}: {_line(cause)}", _line(remedy))


def _line(text: str) -> str:
    return " ".join(text.split("\n"))[:1000]
