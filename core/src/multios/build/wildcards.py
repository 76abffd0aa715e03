"""Patterns for one path element, as Go's ``path.Match`` takes them; no pattern takes more than linear time a name."""

from __future__ import annotations

import re
from collections.abc import Callable

from multios.errors import InvalidInput

LONGEST_PATTERN = 4096
NameMatcher = Callable[[str], bool]


def has_wildcard(element: str) -> bool:
    """Whether an element is a pattern rather than a name."""
    return any(letter in element for letter in "*?[")


def name_matcher(pattern: str) -> NameMatcher:
    """Whether a whole name matches: ``*``, ``?``, ``[a-z]``, ``[^a]`` and the backslash.

    Raises ``InvalidInput`` for a bracket without its end and for a backslash with nothing after it.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise InvalidInput(
            f"a pattern of {len(pattern)} characters", f"at most {LONGEST_PATTERN} are allowed"
        )
    if not has_wildcard(pattern) and "\\" not in pattern:
        return pattern.__eq__
    segments: list[list[str]] = [[]]
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        if letter == "*":
            segments.append([])
        elif letter == "?":
            segments[-1].append(".")
        elif letter == "[":
            text, position = _bracket(pattern, position)
            segments[-1].append(text)
        elif letter == "\\":
            segments[-1].append(re.escape(_escaped(pattern, position)))
            position += 1
        else:
            segments[-1].append(re.escape(letter))
    compiled = re.compile(_expression(segments), re.DOTALL)
    return lambda name: compiled.fullmatch(name) is not None


def _expression(segments: list[list[str]]) -> str:
    """What stands between stars is looked for once, from the left, and never again: atomic groups see to that.

    The last segment must end the name, and must not reach back into what is matched already.
    """
    first, *others = ["".join(segment) for segment in segments]
    if not others:
        return first
    middle = "".join(f"(?>.*?{text})" for text in others[:-1] if text)
    length, last = len(segments[-1]), others[-1]
    end = f"(?=.{{{length}}}).*+(?<={last})" if last else ".*+"
    return first + middle + end


def _escaped(pattern: str, position: int) -> str:
    if position == len(pattern):
        raise InvalidInput(f"pattern {pattern[:80]!r} ends in a backslash", "write \\\\ for a backslash")
    return pattern[position]


def _bracket(pattern: str, position: int) -> tuple[str, int]:
    """A bracket's inside as a regular expression, and where the pattern goes on."""
    unended = InvalidInput(f"pattern {pattern[:80]!r}: a [ without its ]", "write [[] for a bracket itself")
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    count = 0
    while position < len(pattern) and (pattern[position] != "]" or not count):
        low, position = _bracket_end(pattern, position, unended)
        high = low
        if pattern.startswith("-", position):
            high, position = _bracket_end(pattern, position + 1, unended)
        count += 1
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    if position >= len(pattern):
        raise unended
    inside = "".join(ranges)
    if not inside:  # ranges that end before they begin hold nothing
        return ("." if negated else r"[^\s\S]"), position + 1
    return f"[{'^' if negated else ''}{inside}]", position + 1


def _bracket_end(pattern: str, position: int, unended: InvalidInput) -> tuple[str, int]:
    if position < len(pattern) and pattern[position] == "\\":
        position += 1
    elif position < len(pattern) and pattern[position] in "-]":
        raise unended
    if position >= len(pattern):
        raise unended
    return pattern[position], position + 1
