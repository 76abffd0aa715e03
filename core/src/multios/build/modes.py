"""``--chmod``: octal or symbolic, as chmod(1) takes it."""

from __future__ import annotations

import re
from collections.abc import Callable

from multios.errors import InvalidInput

_OCTAL = re.compile(r"[0-7]{1,4}")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*)+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*)")
_CLASSES = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}

ModeChange = Callable[[int, bool], int]
"""From a file's mode, and whether it is a directory, to its new mode."""


def parse_mode(text: str) -> ModeChange:
    """The change that ``text`` describes; ``InvalidInput`` when it describes none."""
    if _OCTAL.fullmatch(text):
        number = int(text, 8)
        return lambda mode, is_directory: number
    clauses = [_CLAUSE.fullmatch(part) for part in text.split(",")]
    if not all(clauses):
        raise InvalidInput(f"--chmod={text}: this is no mode", "write it in octal (755) or as u=rwX,go=rX")
    parsed = [(found[1], _ACTION.findall(found[2])) for found in clauses if found]

    def change(mode: int, is_directory: bool) -> int:
        for classes, actions in parsed:
            for sign, letters in actions:
                mode = _changed(mode, is_directory, classes, sign, letters)
        return mode

    return change


def _changed(mode: int, is_directory: bool, classes: str, sign: str, letters: str) -> int:
    # Without classes chmod(1) would ask the umask, which a build has none of.
    named = "ugo" if not classes or "a" in classes else classes
    bits = mask = 0
    for name in named:
        shift = _CLASSES[name]
        for letter in letters:
            if letter == "X" and (is_directory or mode & 0o111):
                bits |= 1 << shift
            bits |= _BITS.get(letter, 0) << shift
        mask |= 7 << shift
    if "s" in letters:
        bits |= (0o4000 if "u" in named else 0) | (0o2000 if "g" in named else 0)
    if "t" in letters:
        bits |= 0o1000
    if sign == "+":
        return mode | bits
    if sign == "-":
        return mode & ~bits
    mask |= (0o4000 if "u" in named else 0) | (0o2000 if "g" in named else 0) | (bits & 0o1000)
    return (mode & ~mask) | bits
