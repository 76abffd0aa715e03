"""JSON with comments and trailing commas, as editors write it, with the line of every value.

The libraries that read it tell no lines, and have no bound on depth.
"""

from __future__ import annotations

import json
import re

from multios.errors import InvalidInput
from multios_template_converters.values import DEEPEST, MOST_VALUES, Account, Value, below, clean

_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"[A-Za-z0-9+.-]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,2})?")
_LITERALS = {"true": True, "false": False, "null": None}


def read(text: str, account: Account) -> Value:
    """The document; ``InvalidInput`` with file and line for what is no JSON, too deep or has too many values."""
    return _Reader(text.removeprefix("\ufeff"), account).document()


class _Reader:
    def __init__(self, text: str, account: Account) -> None:
        self._text, self._account = text, account
        self._at, self._line, self._counted_to = 0, 1, 0
        self._values = 0

    def document(self) -> Value:
        value = self._value("", 0)
        if self._peek():
            raise self._wrong("", "there is something behind its end")
        return value

    def _wrong(self, key: str, what: str) -> InvalidInput:
        return self._account.wrong(
            key or "JSON", self._here(), what, "it must be JSON; comments and trailing commas are fine"
        )

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _peek(self) -> str:
        """The next character that is neither space nor comment; empty at the end."""
        if space := _SPACE.match(self._text, self._at):
            self._at = space.end()
        return self._text[self._at : self._at + 1]

    def _take(self, wanted: str, key: str) -> None:
        if self._peek() != wanted:
            raise self._wrong(key, f"{wanted!r} is missing")
        self._at += 1

    def _value(self, key: str, depth: int) -> Value:
        first = self._peek()
        line = self._here()
        self._values += 1
        if depth > DEEPEST or self._values > MOST_VALUES:
            raise self._wrong(key, f"more than {MOST_VALUES} values, or deeper than {DEEPEST}")
        if first == "{":
            return Value(self._table(key, depth), line)
        if first == "[":
            return Value(self._list(key, depth), line)
        if first == '"':
            return Value(self._string(key), line)
        return Value(self._word(key), line)

    def _table(self, key: str, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        self._take("{", key)
        while self._peek() != "}":
            name = self._string(key)
            path = below(key, name)
            if name in found:
                raise self._wrong(path, "is there twice")
            self._take(":", path)
            found[name] = self._value(path, depth + 1)
            if self._peek() != "}":
                self._take(",", path)
        self._at += 1
        return found

    def _list(self, key: str, depth: int) -> list[Value]:
        found: list[Value] = []
        self._take("[", key)
        while self._peek() != "]":
            path = below(key, len(found))
            found.append(self._value(path, depth + 1))
            if self._peek() != "]":
                self._take(",", path)
        self._at += 1
        return found

    def _string(self, key: str) -> str:
        self._peek()
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise self._wrong(key, "a text in double quotes is missing")
        try:
            text: str = json.loads(match[0])
        except ValueError:
            raise self._wrong(key, "a text has an escape that JSON does not know") from None
        if not clean(text):
            raise self._wrong(key, "a text has characters that cannot be printed")
        self._at = match.end()
        return text

    def _word(self, key: str) -> bool | int | float | None:
        match = _WORD.match(self._text, self._at)
        word = match[0] if match else ""
        if word in _LITERALS:
            self._at += len(word)
            return _LITERALS[word]
        if not _NUMBER.fullmatch(word):
            raise self._wrong(key, "a value is missing")
        self._at += len(word)
        number: int | float = json.loads(word)
        return number
