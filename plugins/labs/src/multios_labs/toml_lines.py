"""Where in a TOML text a key stands, for errors that name the line."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?")
_KEY = re.compile(r"""\s*(["']?)([A-Za-z0-9_-]+)\1\s*[.=]""")


def line_of(text: str, path: str) -> int:
    """The line of ``steps[1].checks[0].points``, counted from 1; of the nearest thing around it that is there; else 0."""
    found = _lines(text)
    while path:
        if path in found:
            return found[path]
        path = path[: path.rindex("[")] if path.endswith("]") else path.rpartition(".")[0]
    return 0


def _lines(text: str) -> dict[str, int]:
    """Every table's and key's first line. A heuristic over lines: what it misses is named by what is around it."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table, quote = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        header = _HEADER.match(line)
        key = _KEY.match(line)
        if header:
            table = _named(header[2], header[1] == "[[", counts)
            found.setdefault(table, number)
        elif key:
            found.setdefault(f"{table}.{key[2]}" if table else key[2], number)
        for mark in ('"""', "'''"):
            if line.count(mark) == 1:
                quote = mark
    return found


def _named(written: str, is_array: bool, counts: dict[str, int]) -> str:
    """``steps.checks`` as the path of the table that this header begins: ``steps[1].checks[0]``."""
    path = ""
    parts = [part.strip().strip("\"'") for part in written.split(".")]
    for index, part in enumerate(parts):
        path = f"{path}.{part}" if path else part
        if is_array and index == len(parts) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = f"{path}[{counts[path] - 1}]"
    return path
