"""Where a key stands in a TOML text: the parser of the standard library does not say."""

from __future__ import annotations

import re
from collections.abc import Iterator

Place = tuple[str | int, ...]
"""Keys and, for arrays of tables, positions: ``("templates", 0, "name")``."""

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_PATH = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_PATH})\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(rf"\s*({_PATH})\s*=")
_MULTILINE = re.compile(r'"""|' + "'''")


def line_of(text: str, place: Place) -> int:
    """The line, from 1 on, of the key at ``place``, else of the nearest table above it that is written; else 1."""
    best, line = 0, 1
    for found, number in _places(text):
        if found == place[: len(found)] and len(found) > best:
            best, line = len(found), number
    return line


def _places(text: str) -> Iterator[tuple[Place, int]]:
    """Every table and key with its line, in order."""
    table: Place = ()
    counts: dict[Place, int] = {}
    closing = ""
    for number, line in enumerate(text.split("\n"), 1):
        if closing:
            closing = _after(line.partition(closing)[2]) if closing in line else closing
            continue
        if header := _HEADER.fullmatch(line.rstrip("\r")):
            table = _table(header[1], _names(header[2]), counts)
            yield table, number
        elif key := _KEY.match(line):
            yield (*table, *_names(key[1])), number
        closing = _after(line)


def _table(opening: str, names: Place, counts: dict[Place, int]) -> Place:
    place: Place = ()
    for position, name in enumerate(names):
        place = (*place, name)
        if opening == "[[" and position == len(names) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def _names(path: str) -> Place:
    return tuple(name.strip("\"'") for name in re.findall(_NAME, path))


def _after(line: str) -> str:
    """The quotes that a line leaves open, or nothing."""
    closing = ""
    for mark in _MULTILINE.findall(line):
        if not closing:
            closing = mark
        elif mark == closing:
            closing = ""
    return closing
