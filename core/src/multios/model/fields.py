"""Documents from outside, field by field: readers take a path (``resources.memory_limit``) and a value, and give the checked value.

Every refusal is ``InvalidInput`` that names the path and says what was expected.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from multios.errors import InvalidInput, nearest

Reader = Callable[[str, Any], Any]


def wrong(path: str, value: Any, expected: str) -> InvalidInput:
    """The refusal of a value that is not what was expected, with its path."""
    shown = repr(value) if len(repr(value)) <= 60 else f"a {type(value).__name__}"
    return InvalidInput(f"{path}: expected {expected}, got {shown}", f"correct the field {path!r}")


def read_fields(path: str, document: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """An object's fields, each read by its reader; an unknown one is refused with the nearest valid name. Null is as absent."""
    if not isinstance(document, Mapping):
        raise wrong(path or "configuration", document, "an object")
    result: dict[str, Any] = {}
    for key, value in document.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in readers:
            guess = nearest(str(key), list(readers))
            raise InvalidInput(
                f"unknown field {where!r}",
                f"did you mean {guess!r}?" if guess else f"valid fields: {', '.join(readers)}",
            )
        if value is not None:
            result[key] = readers[key](where, value)
    return result


def read_text(path: str, value: Any) -> str:
    """Text that the kernel can be told."""
    if not isinstance(value, str) or "\0" in value or not _can_be_encoded(value):
        raise wrong(path, value, "text")
    return value


def _can_be_encoded(text: str) -> bool:
    """Whether the kernel could be told: half a surrogate pair has no bytes."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def read_boolean(path: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(path, value, "true or false")
    return value


def read_integer(least: int, most: int) -> Reader:
    """A whole number from ``least`` to ``most``."""

    def read(path: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise wrong(path, value, f"a whole number from {least} to {most}")
        return value

    return read


def read_list(item: Reader) -> Reader:
    """A list of what ``item`` reads."""

    def read(path: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise wrong(path, value, "a list")
        return tuple(item(f"{path}[{number}]", entry) for number, entry in enumerate(value))

    return read


def read_mapping(item: Reader) -> Reader:
    """An object of what ``item`` reads, by text."""

    def read(path: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise wrong(path, value, "an object")
        return {read_text(path, key): item(f"{path}.{key}", entry) for key, entry in value.items()}

    return read


def read_option_text(path: str, value: Any) -> str:
    """Text, or what is written as such."""
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    return read_text(path, value)


def read_absolute(path: str, value: Any) -> str:
    """An absolute path without ``..``."""
    text = read_text(path, value)
    if not text.startswith("/"):
        raise wrong(path, value, "an absolute path")
    if ".." in text.split("/"):
        raise wrong(path, value, "a path without '..'")
    return text
