"""Records to JSON and back, for the database and the wire."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, cast

Record = TypeVar("Record")


def to_json(value: Any) -> Any:
    """``value`` with every record as a mapping, tuple as a list and enum as its value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _fields(type(value))}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[Record], data: Mapping[str, Any]) -> Record:
    """The record of type ``kind`` that :func:`to_json` wrote; fields that ``data`` lacks keep their default."""
    hints = _fields(cast(Any, kind))
    return kind(**{name: _read(hints[name], item) for name, item in data.items() if name in hints})


@cache
def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def _read(hint: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if data is None:
        return None
    if origin in (types.UnionType, typing.Union):
        return _read(next(item for item in arguments if item is not type(None)), data)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_read(arguments[0], item) for item in data)
        return tuple(_read(inner, item) for inner, item in zip(arguments, data, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _read(arguments[1], item) for key, item in data.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, data)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(data)
    return data
