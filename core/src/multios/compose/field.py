"""A value of a Compose file with its path and place: what is read out of it is checked, and errors say where it stands."""

from __future__ import annotations

from multios.compose.keys import IGNORED, KEYS, REFUSED
from multios.compose.report import at, wrong
from multios.compose.tree import Items, Table, written
from multios.errors import InvalidInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.compose.report import Report
    from multios.compose.tree import Place

_TRUE = ("true", "yes", "on", "y", "1")
_FALSE = ("false", "no", "off", "n", "0")
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_LONGEST_NAME = 63


class Field:
    """``value`` is a scalar, a ``Table`` or ``Items``."""

    __slots__ = ("path", "place", "report", "value")

    def __init__(self, value: Any, path: str, place: Place, report: Report) -> None:
        self.value, self.path, self.place, self.report = value, path, place, report

    def error(self, cause: str, remedy: str) -> InvalidInput:
        """What is to be raised."""
        return wrong(self.place, self.path, cause, remedy)

    def expected(self, what: str) -> InvalidInput:
        """The error of a value that is something else than ``what``."""
        shown = repr(written(self.value)) if not isinstance(self.value, (Table, Items)) else ""
        shown = "a mapping" if isinstance(self.value, Table) else shown or "a list"
        shown = "nothing" if self.value is None else shown
        return self.error(f"expected {what}, got {shown[:80]}", "correct it")

    def warn(self, text: str) -> None:
        """Say that something is not as the file has it."""
        self.report.warn(f"{at(self.place, self.path)}: {text}")

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return not (self.value is None or self.value is False or self.value in ("", [], {}))

    # --- scalars --------------------------------------------------------------------------------------

    def text(self) -> str:
        """Text; a number is as it is written."""
        if isinstance(self.value, bool) or not isinstance(self.value, (str, int, float)):
            raise self.expected("text")
        text = written(self.value)
        if "\0" in text:
            raise self.error("there is a null character in it", "leave it out")
        return text

    def scalar(self) -> str:
        """Text, where ``true`` and ``false`` may stand too."""
        return written(self.value) if isinstance(self.value, bool) else self.text()

    def flag(self) -> bool:
        """True or false."""
        if isinstance(self.value, bool):
            return self.value
        text = self.scalar().lower()
        if text not in _TRUE + _FALSE:
            raise self.expected("true or false")
        return text in _TRUE

    def whole(self, least: int, most: int) -> int:
        """A whole number within bounds."""
        number = self.value
        if isinstance(number, str):
            digits = number[1:] if number[:1] in ("+", "-") else number
            number = int(number) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise self.expected(f"a whole number from {least} to {most}")
        return int(number)

    def number(self, least: float, most: float) -> float:
        """A number within bounds."""
        try:
            number = float(self.text().replace("_", "?"))  # which Python would take
        except ValueError:
            raise self.expected("a number") from None
        if not least <= number <= most:
            raise self.expected(f"a number from {least:g} to {most:g}")
        return number

    def one_of(self, *choices: str) -> str:
        """One of ``choices``."""
        if (text := self.scalar()) not in choices:
            raise self.expected(f"one of {', '.join(choices)}")
        return text

    # --- mappings and lists -----------------------------------------------------------------------------

    def table(self, section: str) -> dict[str, Field]:
        """A mapping whose keys are those of ``section``; null is as if it was not there."""
        return {key: field for key, field in self.entries().items() if self._is_usable(key, field, section)}

    def check_keys(self, section: str) -> None:
        """Raise for a key of this mapping that ``section`` does not have."""
        for key, field in self.entries().items():
            field.check_key(key, section)

    def check_key(self, key: str, section: str) -> None:
        """Raise if ``section`` has no ``key``, whose value this is."""
        if key not in KEYS[section] and not key.startswith("x-"):
            guess = nearest(key, list(KEYS[section]))
            remedy = f"did you mean {guess!r}?" if guess else "leave it out, or begin it with x-"
            raise self.error(f"there is no key {key[:80]!r}", remedy)

    def _is_usable(self, key: str, field: Field, section: str) -> bool:
        field.check_key(key, section)
        if key.startswith("x-"):
            return False
        state, note = KEYS[section][key]
        if state == REFUSED and field:
            raise field.error(f"{key} is not supported", note)
        if state == IGNORED and field:
            field.warn(f"{key} is left out: {note}")
        return field.value is not None and state not in (REFUSED, IGNORED)

    def entries(self) -> dict[str, Field]:
        """A mapping with any keys."""
        if self.value is None:
            return {}
        if not isinstance(self.value, Table):
            raise self.expected("a mapping")
        prefix = f"{self.path}." if self.path else ""
        return {
            key: Field(item, prefix + key, self.value.places[key], self.report)
            for key, item in self.value.items()
        }

    def named(self) -> dict[str, Field]:
        """A mapping whose keys are names of services, networks, volumes or files."""
        entries = self.entries()
        for name, field in list(entries.items()):
            if name.startswith("x-"):
                del entries[name]
            elif not name or len(name) > _LONGEST_NAME or not _NAME.issuperset(name) or not name[0].isalnum():
                raise field.error(
                    f"{name[:80]!r} is not allowed as a name",
                    f"use at most {_LONGEST_NAME} letters, digits, '_', '.' and '-', a letter or digit first",
                )
        return entries

    def items(self) -> list[Field]:
        """A list."""
        if self.value is None:
            return []
        if not isinstance(self.value, Items):
            raise self.expected("a list")
        pairs = zip(self.value, self.value.places, strict=True)
        return [
            Field(item, f"{self.path}[{number}]", place, self.report)
            for number, (item, place) in enumerate(pairs)
        ]

    def some(self) -> list[Field]:
        """A list, or one value alone."""
        return self.items() if self.value is None or isinstance(self.value, Items) else [self]

    def pairs(self, separators: str = "=") -> dict[str, Field]:
        """A mapping of scalars, or a list of ``KEY=VALUE``; without a value it is null."""
        if not isinstance(self.value, Items):
            return self.entries()
        found = {}
        for item in self.items():
            text = item.scalar()
            cut = min((text.index(mark) for mark in separators if mark in text), default=len(text))
            if not text[:cut]:
                raise item.error(f"{text[:80]!r} has no name", "write NAME=VALUE")
            value = text[cut + 1 :] if cut < len(text) else None
            found[text[:cut]] = Field(value, item.path, item.place, self.report)
        return found

    def texts(self) -> dict[str, str]:
        """:meth:`pairs` as text; null is empty."""
        return {key: "" if item.value is None else item.scalar() for key, item in self.pairs().items()}
