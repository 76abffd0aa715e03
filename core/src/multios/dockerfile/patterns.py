"""The patterns of ``${name#pattern}`` and its kin: ``*`` and ``?`` alone, matched in linear time."""

from __future__ import annotations

from multios.errors import InvalidInput

LONGEST_PATTERN = 1000
LONGEST_VALUE = 1024 * 1024
"""Characters that a word may grow to by its variables."""

_Segment = tuple[str | None, ...]
"""Characters between two stars; None is any one character."""


class Pattern:
    """A pattern; a backslash makes ``*``, ``?`` and itself mean themselves (POSIX, "Pattern matching")."""

    def __init__(self, text: str) -> None:
        """Raises ``InvalidInput`` for an escape of something else, and when it is too long."""
        if len(text) > LONGEST_PATTERN:
            raise InvalidInput(
                f"a pattern of {len(text)} characters", f"at most {LONGEST_PATTERN} are allowed"
            )
        segments: list[list[str | None]] = [[]]
        characters = iter(text)
        for character in characters:
            if character == "*":
                segments.append([])
                continue
            if character == "\\":
                character = next(characters, "")
                if not character or character not in "*?\\}/":
                    raise InvalidInput(
                        f"pattern {text[:80]!r}: \\{character} is no escape",
                        "expected \\*, \\?, \\}, \\/ or \\\\",
                    )
                segments[-1].append(character)
            else:
                segments[-1].append(None if character == "?" else character)
        self._segments = tuple(tuple(segment) for segment in segments)

    def without_prefix(self, value: str, longest: bool) -> str:
        """``value`` without the part at its start that matches, the shortest or the longest such."""
        end = _match(self._segments, value, 0, longest)
        return value if end is None else value[end:]

    def without_suffix(self, value: str, longest: bool) -> str:
        """``value`` without the part at its end that matches."""
        backwards = tuple(segment[::-1] for segment in reversed(self._segments))
        end = _match(backwards, value[::-1], 0, longest)
        return value if end is None else value[: len(value) - end]

    def replace(self, value: str, replacement: str, everywhere: bool) -> str:
        """``value`` with the first, or every, longest match replaced. An empty match replaces nothing."""
        parts: list[str] = []
        position = grown = 0
        first, star = self._segments[0], len(self._segments) > 1
        while position < len(value):
            start = _find(first, value, position)
            # What a star begins goes on to the end: if it fails here, it fails further on.
            end = None if start is None else _match(self._segments, value, start, longest=True)
            if start is None or end is None or end == start:
                break
            grown += len(replacement)
            if grown > LONGEST_VALUE:
                raise InvalidInput("what ${…//…} gives is too long", f"at most {LONGEST_VALUE} characters")
            parts += [value[position:start], replacement]
            position = end
            if not everywhere or star:
                break
        return "".join(parts) + value[position:]


def _match(segments: tuple[_Segment, ...], value: str, start: int, longest: bool) -> int | None:
    """Where the match that begins at ``start`` ends, or None. The earliest place for each segment is always right."""
    first, *others = segments
    if _find(first, value, start, start + len(first)) is None:
        return None
    position = start + len(first)
    if not others:
        return position
    for segment in others[:-1]:
        found = _find(segment, value, position)
        if found is None:
            return None
        position = found + len(segment)
    last = others[-1]
    found = _find_last(last, value, position) if longest else _find(last, value, position)
    return None if found is None else found + len(last)


def _find(segment: _Segment, value: str, start: int, stop: int | None = None) -> int | None:
    """The first place of the segment in ``value[start:stop]``: shift-and, one bit a character."""
    if stop is not None and stop > len(value):
        return None
    plain = "".join(character for character in segment if character is not None)
    if len(plain) == len(segment):
        found = value.find(plain, start, len(value) if stop is None else stop)
        return None if found < 0 else found
    anything = sum(1 << index for index, character in enumerate(segment) if character is None)
    places: dict[str, int] = {}
    for index, character in enumerate(segment):
        if character is not None:
            places[character] = places.get(character, 0) | 1 << index
    last, state = 1 << (len(segment) - 1), 0
    for index in range(start, len(value) if stop is None else stop):
        state = (state << 1 | 1) & (anything | places.get(value[index], 0))
        if state & last:
            return index + 1 - len(segment)
    return None


def _find_last(segment: _Segment, value: str, start: int) -> int | None:
    """The last place of the segment in ``value[start:]``."""
    found = _find(segment[::-1], value[start:][::-1], 0)
    return None if found is None else len(value) - found - len(segment)
