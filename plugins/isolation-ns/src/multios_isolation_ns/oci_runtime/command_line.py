"""The command line of OCI runtimes, parsed by hand: argparse alone would be a third of a start.

An option's table says what it takes: ``flag``, ``value`` or ``list`` (may be given again).
"""

from __future__ import annotations

from multios.errors import InvalidInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

GLOBAL = {
    "--root": "value",
    "--log": "value",
    "--log-format": "value",
    "--debug": "flag",
    "--systemd-cgroup": "flag",
    "--rootless": "value",
    "--criu": "value",
    "--version": "flag",
    "-v": "--version",
    "--help": "flag",
    "-h": "--help",
}


class Request:
    """A parsed command line: ``shared`` and ``own`` are option values by name, ``words`` what is no option."""

    __slots__ = ("operation", "own", "shared", "words")

    def __init__(self, shared: Mapping[str, Any], operation: str) -> None:
        self.shared = shared
        self.operation = operation
        self.own: dict[str, Any] = {}
        self.words: list[str] = []

    @property
    def container_id(self) -> str:
        """The one word that every operation on a container has."""
        if not self.words:
            raise InvalidInput(f"{self.operation} needs a container id", f"{self.operation} [options] ID")
        return self.words[0]

    def at_most(self, count: int) -> None:
        """Refuse more words than the operation has a meaning for."""
        if len(self.words) > count:
            raise InvalidInput(f"{self.operation}: {self.words[count]!r} is one word too many")


def parse(
    words: list[str], table: Mapping[str, str], stops_at_word: int | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Option values by long name, and the other words. From word number ``stops_at_word`` on none is an option."""
    values: dict[str, Any] = {}
    others: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            others += words[position:]
            break
        if not word.startswith("-") or word == "-":
            others.append(word)
            if stops_at_word is not None and len(others) == stops_at_word:
                others += words[position:]
                break
            continue
        name, equals, value = word.partition("=")
        name, kind = _known(name, table)
        if kind == "flag":
            values[name] = value.lower() not in ("false", "0") if equals else True
            continue
        if not equals:
            if position == len(words):
                raise InvalidInput(f"{name} needs a value")
            value = words[position]
            position += 1
        if kind == "list":
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return values, others


def _known(name: str, table: Mapping[str, str]) -> tuple[str, str]:
    spelled = name if name in table else "-" + name  # -root is --root to Go's flag packages
    if spelled not in table:
        guess = nearest(name, list(table))
        raise InvalidInput(f"unknown option {name}", f"did you mean {guess}?" if guess else "see --help")
    if table[spelled].startswith("-"):
        spelled = table[spelled]
    return spelled, table[spelled]


def number(request: Request, name: str, default: int = 0) -> int:
    """The value of an option that is a natural number."""
    text = request.own.get(name)
    if text is None:
        return default
    if not text.removeprefix("-").isdecimal():
        raise InvalidInput(f"{name}: {text!r} is not a number")
    return int(text)
