"""``.dockerignore``: which paths of a context are left out (Dockerfile reference, ".dockerignore file").

The last pattern that matches a path, or a directory above it, decides. A walk asks from the top down, so that each
directory carries on only what can still match below it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from multios.build.wildcards import NameMatcher, name_matcher
from multios.errors import InvalidInput

FILE_NAME = ".dockerignore"
LARGEST_FILE = 1024 * 1024
MOST_PATTERNS = 10_000

_Progress = tuple["_Pattern", tuple[int, ...], bool]
"""A pattern, the elements of it that the next name may match, and whether it has matched already."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One line: an element is a matcher, or None for ``**``, which is any number of directories."""

    elements: tuple[NameMatcher | None, ...]
    negated: bool

    def begin(self) -> tuple[int, ...]:
        return self._closed({0})

    def step(self, places: tuple[int, ...], name: str) -> tuple[tuple[int, ...], bool]:
        """Where the pattern stands after one more name of the path, and whether it has matched."""
        following: set[int] = set()
        end = len(self.elements)
        for place in places:
            element = self.elements[place]
            if element is None:
                following.add(end if place == end - 1 else place)
            elif element(name):
                following.add(place + 1)
        return self._closed(following), end in following

    def _closed(self, places: set[int]) -> tuple[int, ...]:
        """With the places after each ``**`` that may stand for nothing: any but the last."""
        end = len(self.elements)
        after = {place + 1 for place in places if place < end - 1 and self.elements[place] is None}
        return tuple(sorted(place for place in places | after if place < end))


class State:
    """What the patterns say of one path."""

    __slots__ = ("_progress", "ignored", "may_hold_kept")

    def __init__(self, progress: tuple[_Progress, ...], is_root: bool = False) -> None:
        self._progress = progress
        decisive = next((pattern for pattern, _, matched in reversed(progress) if matched), None)
        self.ignored = decisive is not None and not decisive.negated and not is_root
        """Whether the path is left out."""
        self.may_hold_kept = any(
            pattern.negated and (places or matched) for pattern, places, matched in progress
        )
        """Whether a path below this one might not be left out, though this one is."""

    def enter(self, name: str) -> State:
        """What they say of ``name`` in this directory."""
        progress: list[_Progress] = []
        for pattern, places, matched in self._progress:
            if matched:
                progress.append((pattern, (), True))  # a directory's match is that of all below it
                continue
            following, matches = pattern.step(places, name)
            if following or matches:
                progress.append((pattern, following, matches))
        return State(tuple(progress))


class Patterns:
    """The patterns of a ``.dockerignore`` file, or of ``--exclude``."""

    def __init__(self, lines: Iterable[str] = (), where: str = FILE_NAME) -> None:
        """Raises ``InvalidInput`` that names ``where`` and the line for a pattern that cannot be one."""
        patterns = []
        for number, line in enumerate(lines, 1):
            if number > MOST_PATTERNS:
                raise InvalidInput(f"{where}: more than {MOST_PATTERNS} lines", "use wildcards")
            try:
                pattern = _parse(line)
            except InvalidInput as error:
                raise InvalidInput(f"{where}:{number}: {error.cause}", error.remedy) from None
            if pattern is not None:
                patterns.append(pattern)
        self.root = State(tuple((pattern, pattern.begin(), False) for pattern in patterns), is_root=True)
        """What they say of the top directory, which is never left out."""

    @classmethod
    def of_file(cls, text: str | bytes, where: str = FILE_NAME) -> Patterns:
        """The patterns of a file's text: a line each; those that begin with ``#`` are comments."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        if len(text) > LARGEST_FILE:
            raise InvalidInput(f"{where} is longer than {LARGEST_FILE} characters", "is this the right file?")
        lines = text.removeprefix("\ufeff").split("\n")
        return cls(("" if line.startswith("#") else line for line in lines), where)

    def at(self, path: str) -> State:
        """What they say of a path relative to the top."""
        state = self.root
        for name in path.split("/"):
            if name:
                state = state.enter(name)
        return state

    def matches(self, path: str) -> bool:
        """Whether the path is left out."""
        return self.at(path).ignored


def _parse(line: str) -> _Pattern | None:
    text = line.strip()
    negated = text.startswith("!")
    if negated:
        text = text[1:].strip()
        if not text:
            raise InvalidInput("a ! with no pattern", "expected !PATTERN")
    if not text:
        return None
    elements: list[NameMatcher | None] = []
    for element in posixpath.normpath("/" + text).strip("/").split("/"):
        if element == "**" and elements and elements[-1] is None:
            continue
        if element.startswith("**") and len(element) > 2 and (not elements or elements[-1] is not None):
            elements.append(None)  # **.go is any .go file at any depth
        if element:
            elements.append(None if element == "**" else name_matcher(element))
    return _Pattern(tuple(elements), negated) if elements else None
