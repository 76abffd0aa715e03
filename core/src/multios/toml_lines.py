"""On which line of a TOML file a key stands, which tomli does not tell.

Keys are named as errors name them: ``checks[0].timeout``, ``packages."ubuntu:20.04"``. The text is one that tomli has
read without complaint, so this reader need not know what is wrong, only where things are.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_SKIP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]}\n#]*")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}(?!")', re.DOTALL),
    re.compile(r"'''.*?'{3,5}(?!')", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


def lines(text: str) -> dict[str, int]:
    """The line, counted from 1, of every table, key and element of an array in ``text``."""
    return _Reader(text).read()


def line_of(text: str, path: str) -> int:
    """The line of what is at ``path``, or of the nearest thing around it that is there; else 0."""
    found = lines(text)
    while path:
        if path in found:
            return found[path]
        path = path[: path.rindex("[")] if path.endswith("]") else path.rpartition(".")[0]
    return 0


def path_of(place: Iterable[str | int]) -> str:
    """Keys and positions as one path: ``("checks", 0, "timeout")`` is ``checks[0].timeout``."""
    path = ""
    for part in place:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{written(part)}" if path else written(part)
    return path


def written(name: str) -> str:
    """A key as it is written in a path: quoted unless it is bare."""
    return name if _BARE.fullmatch(name) else f'"{name}"'


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._found: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        table = ""
        while self._skip() < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self._found

    def _skip(self) -> int:
        found = _SKIP.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _note(self, path: str) -> None:
        self._found.setdefault(path, bisect.bisect_left(self._newlines, self._at) + 1)

    def _keys(self) -> Iterator[str]:
        while match := _KEY.match(self._text, self._at):
            self._at = match.end()
            yield next(part for part in match.groups() if part is not None)
            if not self._text.startswith(".", self._at):
                return
            self._at += 1

    def _header(self) -> str:
        """``[a.b]`` or ``[[a.b]]``: the path of the table that follows."""
        is_array = self._text.startswith("[[", self._at)
        line = self._at
        self._at += 2 if is_array else 1
        names = list(self._keys())
        end, self._at = self._at, line
        path = ""
        for name in names[:-1]:
            path = self._current(f"{path}.{written(name)}" if path else written(name))
            self._note(path)
        path = f"{path}.{written(names[-1])}" if path else written(names[-1])
        self._note(path)
        if is_array:
            number = self._counts[path] = self._counts.get(path, -1) + 1
            path = f"{path}[{number}]"
            self._note(path)
        self._at = end + (2 if is_array else 1)
        return path

    def _current(self, path: str) -> str:
        return f"{path}[{self._counts[path]}]" if path in self._counts else path

    def _pair(self, table: str) -> None:
        begin, path = self._at, table
        names = list(self._keys())
        end, self._at = self._at, begin
        for name in names:
            path = f"{path}.{written(name)}" if path else written(name)
            self._note(path)
        self._at = max(end, begin) + 1  # the equals sign
        self._value(path)

    def _value(self, path: str) -> None:
        self._skip()
        self._note(path)
        opening = self._text[self._at : self._at + 1]
        if opening == "[":
            self._elements(path)
        elif opening == "{":
            self._inline(path)
        else:
            patterns = _STRINGS if opening in ('"', "'") else (_SCALAR,)
            match = next((found for item in patterns if (found := item.match(self._text, self._at))), None)
            self._at = match.end() if match and match.end() > self._at else self._at + 1

    def _elements(self, path: str) -> None:
        self._at += 1
        number = 0
        while self._skip() < len(self._text) and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._value(f"{path}[{number}]")
            number += 1
        self._at += 1

    def _inline(self, path: str) -> None:
        self._at += 1
        while self._skip() < len(self._text) and self._text[self._at] != "}":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._pair(path)
        self._at += 1
