"""How a line falls into words: quotes and escapes are kept, for the expansion takes them off."""

from __future__ import annotations

import json
import re
from typing import Any

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_BLANKS = re.compile(r"[\t\v\f\r ]+")


class NotStrings(ValueError):
    """A JSON array that holds something else than strings."""


def split_blanks(text: str, most: int = 0) -> list[str]:
    """Split at blanks, whatever the quotes; into at most ``most`` + 1 parts when that is not 0."""
    stripped = text.strip(SPACES)
    return _BLANKS.split(stripped, maxsplit=most) if stripped else []


def split_words(text: str, escape: str) -> list[str]:
    """Split at spaces that are neither quoted nor escaped; quotes and escapes stay in the words."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if not quote and character in SPACES:
            if word:
                words.append("".join(word))
                word = []
            continue
        if character == escape and quote != "'":
            if position == len(text):
                break  # an escape at the very end escapes nothing
            character += text[position]
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        word.append(character)
    if word:
        words.append("".join(word))
    return words


def split_flags(text: str) -> tuple[list[str], str]:
    """The leading ``--flag`` words, their quotes taken off, and what follows them; a bare ``--`` ends them."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position] in SPACES:
            position += 1
        if not text.startswith("--", position):
            return flags, text[position:]
        word, position = _read_flag(text, position)
        if word == "--":
            return flags, text[position:].lstrip(SPACES)
        flags.append(word)


def _read_flag(text: str, position: int) -> tuple[str, int]:
    """One word without its quotes, and where it ends. The backslash escapes here, whatever the directive says."""
    word: list[str] = []
    quote = ""
    while position < len(text):
        character = text[position]
        if not quote and character in SPACES:
            break
        position += 1
        if quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == "\\":
            word.append(text[position : position + 1])
            position += 1
        else:
            word.append(character)
    return "".join(word), min(position, len(text))


def read_json(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array (exec form); None when it is no JSON array, and so shell form.

    Raises ``NotStrings`` for an array that is valid JSON and holds something else.
    """
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise NotStrings from None
    except ValueError:
        return None
    if not all(isinstance(item, str) for item in value):
        raise NotStrings
    # A lone surrogate cannot be an argument of execve(2).
    return tuple(item.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for item in value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
