"""Where COPY's sources go: the rules of the Dockerfile reference, from sources and a destination to entries."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from multios.build.context import Entry
from multios.build.ignore import Patterns
from multios.build.trees import Placed, Source
from multios.build.wildcards import has_wildcard
from multios.errors import InvalidInput, NotFound


def chosen(source: Source, patterns: Sequence[str]) -> list[tuple[str, str]]:
    """Every path that the patterns name, with what ``--parents`` puts before it.

    A pattern with wildcards may name nothing as long as another one names something; else ``NotFound`` names it.
    """
    found = []
    for pattern in patterns:
        pivot, _, rest = pattern.rpartition("/./")
        paths = source.select(f"{pivot}/{rest}" if pivot else pattern)
        if not paths and not has_wildcard(pattern):
            raise _absent(pattern)
        above = len(_parts(pivot))
        found += [(path, "/".join(_parts(posixpath.dirname(path))[above:])) for path in paths]
    if patterns and not found:
        raise _absent(patterns[0])
    return found


def _absent(pattern: str) -> NotFound:
    return NotFound(f"{pattern!r} is not there to copy", "look at its spelling, .dockerignore and --exclude")


def _parts(path: str) -> list[str]:
    return [part for part in posixpath.normpath(f"/{path}").split("/") if part]


def place(
    source: Source,
    paths: Sequence[tuple[str, str]],
    destination: str,
    into_directory: bool,
    parents: bool = False,
    excluded: Patterns | None = None,
) -> list[Placed]:
    """Every entry that is copied and its target. ``destination`` is relative to the root, without a slash at its end.

    A directory's content goes into the destination, a file there or, ``into_directory``, below it by its own name.
    ``excluded`` leaves out what it matches, told from the source's root or from the directory that is copied.
    """
    placed: list[Placed] = []
    for path, above in paths:
        entries = source.walk(path)
        first = next(entries)
        if parents:
            target = _join(destination, above, posixpath.basename(path))
        elif first.is_directory:
            target = destination
        else:
            target = _join(destination, posixpath.basename(path)) if into_directory else destination
        placed += _below(first, entries, path, target)
    if excluded is None:
        return placed
    tops = {path for path, _ in paths}
    return _without_excluded(placed, excluded, tops)


def _below(first: Entry, rest: Iterator[Entry], path: str, target: str) -> Iterator[Placed]:
    yield Placed(first, target)
    for entry in rest:
        relative = entry.path[len(path) :].lstrip("/")
        yield Placed(entry, _join(target, relative))


def _without_excluded(placed: Sequence[Placed], excluded: Patterns, tops: set[str]) -> list[Placed]:
    """What is left; a directory stays for what is let in again below it."""
    kept: list[Placed] = []
    needed: set[str] = set()
    for item in reversed(placed):  # directories come before what they hold
        is_needed = item.entry.is_directory and item.target in needed
        if is_needed or not _is_excluded(item.entry, excluded, tops):
            kept.append(item)
            needed.add(posixpath.dirname(item.target))
    return kept[::-1]


def _is_excluded(entry: Entry, excluded: Patterns, tops: set[str]) -> bool:
    if excluded.matches(entry.path):
        return True
    if entry.path in tops:
        return not entry.is_directory and excluded.matches(posixpath.basename(entry.path))
    return any(
        excluded.matches(entry.path[len(top) :].strip("/")) for top in tops if _is_below(entry.path, top)
    )


def _is_below(path: str, top: str) -> bool:
    return not top or path.startswith(f"{top}/")


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def destination_of(text: str, working_directory: str, sources: int) -> tuple[str, bool]:
    """A destination relative to the root, and whether it says itself that it is a directory.

    ``InvalidInput`` for several sources and a destination that is none.
    """
    names_directory = text.endswith("/") or posixpath.basename(text) in (".", "..", "")
    if sources > 1 and not names_directory:
        raise InvalidInput(f"{text!r} must be a directory for {sources} sources", "end it with /")
    path = posixpath.normpath(posixpath.join("/", working_directory, text)).strip("/")
    return path, names_directory
