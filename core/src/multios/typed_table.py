"""Tables of values from outside (TOML, ``key=value`` options) into frozen dataclasses, each field checked.

A field's type is one of ``bool``, ``int``, ``float``, ``str``, ``Path``, an enum, a ``Literal``, a tuple of
one of these (``tuple[str, ...]``), or one of them ``| None``. A field whose metadata has ``parse`` is given to that
function with the field's name instead: ``field(default=None, metadata={"parse": parse_size})``.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from multios.errors import InvalidInput, nearest

Record = TypeVar("Record")

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def read(kind: type[Record], table: Mapping[str, Any], where: str, text: bool = False) -> Record:
    """The ``kind`` that ``table`` describes; absent fields keep their default.

    ``where`` begins every error, before the field's name. With ``text`` values are text from a command
    line and converted. Raises ``InvalidInput`` for an unknown field or a value that does not fit.
    """
    hints = field_types(kind)
    parsers = {item.name: item.metadata["parse"] for item in fields(kind) if "parse" in item.metadata}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise unknown_key(key, list(hints), where)
        name = f"{where}{key}"
        values[key] = parsers[key](value, name) if key in parsers else _convert(hints[key], value, name, text)
    try:
        return kind(**values)
    except ValueError as error:  # from the dataclass's own __post_init__
        raise InvalidInput(f"{where.rstrip('.: ')}: {error}", "choose another value") from error


def unknown_key(key: str, choices: list[str], where: str) -> InvalidInput:
    """The refusal of a field that does not exist, with the nearest one, or all of them."""
    guess = nearest(key, choices)
    listed = ", ".join(sorted(choices)) or "none"
    return InvalidInput(
        f"{where}{key}: no such setting", f"did you mean {guess!r}?" if guess else f"valid: {listed}"
    )


def fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    """The dataclass's fields that may be set."""
    return tuple(item for item in dataclasses.fields(kind) if item.init)


def missing(kind: type, table: Mapping[str, Any]) -> list[str]:
    """The fields without a default that ``table`` does not have."""
    return [
        item.name
        for item in fields(kind)
        if item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
        and item.name not in table
    ]


def field_types(kind: type) -> dict[str, Any]:
    """Each field's resolved type."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind)}


def type_name(hint: Any) -> str:
    """A type in words: ``text``, ``list of whole number``, ``one of a, b``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_name(item) for item in arguments if item is not type(None))
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    if origin is typing.Literal:
        return "one of " + ", ".join(str(item) for item in arguments)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(str(item.value) for item in hint)
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "absolute path"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _convert(hint: Any, value: Any, name: str, text: bool) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert(next(item for item in arguments if item is not type(None)), value, name, text)
    if origin is tuple:
        items = value.split(",") if text and isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise _misfit(hint, value, name)
        return tuple(_convert(arguments[0], item, f"{name}[{i}]", text) for i, item in enumerate(items))
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise _misfit(hint, value, name)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        for member in hint:
            if member.value == value:
                return member
        raise _misfit(hint, value, name)
    return _scalar(hint, _from_text(hint, value) if text else value, name)


def _from_text(hint: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if hint is bool and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    if hint in (int, float):
        try:
            return hint(value)
        except ValueError:
            return value
    return value


def _scalar(hint: Any, value: Any, name: str) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path:
        if isinstance(value, str) and value.startswith("/") and "\0" not in value:
            return Path(value)
        raise _misfit(hint, value, name)
    if type(value) is not hint:  # exactly: True is no whole number
        raise _misfit(hint, value, name)
    return value


def _misfit(hint: Any, value: Any, name: str) -> InvalidInput:
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return InvalidInput(f"{name}: {shown} is not valid", f"expected: {type_name(hint)}")
