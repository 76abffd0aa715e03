"""What foreign documents hold, each value with its line; and the account of what is read of one and what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multios.drivers.template_converter import LeftOut
from multios.errors import InvalidInput
from multios.toml_lines import written

LARGEST_DOCUMENT = 128 * 1024
"""In bytes; so is a startup script."""
MOST_VALUES = 20_000
DEEPEST = 40
MOST_LEFT_OUT = 1000


@dataclass(frozen=True, slots=True)
class Value:
    """``data`` is null, a scalar, a list of values or a mapping of texts to values."""

    data: Any
    line: int


def shown(text: str, most: int = 80) -> str:
    """A stranger's text within one line of a message."""
    clipped = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(letter if letter.isprintable() else "?" for letter in clipped)


def clean(text: str) -> bool:
    """Whether a text can stand in a template: no control characters but tab and new lines, nothing that is no UTF-8."""
    return not any(
        (letter < " " and letter not in "\t\n\r") or letter == "\x7f" or "\ud800" <= letter <= "\udfff"
        for letter in text
    )


class Account:
    """Of one document, named ``file`` in messages: what is wrong in it, and what was left out."""

    def __init__(self, file: str, left_out: list[LeftOut] | None = None) -> None:
        self.file = file
        self.left_out: list[LeftOut] = [] if left_out is None else left_out

    def leave(self, key: str, value: Value | int, why: str) -> None:
        """Say that ``key`` does not come along."""
        if len(self.left_out) == MOST_LEFT_OUT:
            raise InvalidInput(
                f"{self.file}: more than {MOST_LEFT_OUT} things are left out", "take a smaller one"
            )
        line = value if isinstance(value, int) else value.line
        self.left_out.append(LeftOut(shown(self.file, 200), line, shown(key, 200), shown(why, 400)))

    def wrong(self, key: str, value: Value | int, what: str, remedy: str) -> InvalidInput:
        """The error with its place; to be raised."""
        line = value if isinstance(value, int) else value.line
        return InvalidInput(f"{shown(self.file, 200)}:{line}: {shown(key, 200)}: {shown(what, 300)}", remedy)

    # --- values of one type -------------------------------------------------------------------------

    def table(self, key: str, value: Value) -> dict[str, Value]:
        """A mapping."""
        found: dict[str, Value] = self._of(
            dict, key, value, "must be a table of keys", "see the format's reference"
        )
        return found

    def items(self, key: str, value: Value) -> list[Value]:
        """A list."""
        found: list[Value] = self._of(list, key, value, "must be a list", "see the format's reference")
        return found

    def text(self, key: str, value: Value) -> str:
        """A text."""
        found: str = self._of(str, key, value, "must be text", "put it in quotes")
        return found

    def scalar(self, key: str, value: Value) -> str:
        """A text, a number or a truth value, as the text that one would write."""
        data = value.data
        if isinstance(data, bool):
            return str(data).lower()
        if isinstance(data, (int, float)):
            return str(data)
        return self.text(key, value)

    def _of(self, kind: type[Any], key: str, value: Value, what: str, remedy: str) -> Any:
        if not isinstance(value.data, kind):
            raise self.wrong(key, value, what, remedy)
        return value.data

    def checked(self, key: str, value: Value | int, check: Callable[[], Any]) -> Any:
        """What ``check`` answers; its ``InvalidInput`` gets file, line and key."""
        try:
            return check()
        except InvalidInput as error:
            raise self.wrong(key, value, error.cause, error.remedy) from None


def below(key: str, name: str | int) -> str:
    """The path of what is in ``key``: ``features."ghcr.io/x"``, ``mounts[0]``."""
    if isinstance(name, int):
        return f"{key}[{name}]"
    return f"{key}.{written(shown(name))}" if key else written(shown(name))
