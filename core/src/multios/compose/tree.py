"""What a YAML file holds, with the place of everything: mappings, sequences, numbers as they were written."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Place = tuple[str, int]
    """A file as its user names it, and a line, counted from 1; 0 is no line."""


class Table(dict["str", "Any"]):
    """A mapping. ``places`` has the place of each of its keys."""

    __slots__ = ("places",)

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}

    def put(self, key: str, value: Any, place: Place) -> None:
        """Set one key."""
        self[key] = value
        self.places[key] = place

    def without(self, *keys: str) -> Table:
        """A copy that lacks ``keys``."""
        copy = Table()
        for key, value in self.items():
            if key not in keys:
                copy.put(key, value, self.places[key])
        return copy


class Items(list["Any"]):
    """A sequence. ``places`` has the place of each of its elements."""

    __slots__ = ("places",)

    def __init__(self) -> None:
        self.places: list[Place] = []

    def add(self, value: Any, place: Place) -> None:
        """Append one element."""
        self.append(value)
        self.places.append(place)


class Integer(int):
    """A whole number that is not written as Python writes it: ``0640``, ``0x1F``, ``+5``."""

    text: str


class Decimal(float):
    """A number that keeps its text: a version 1.10 in ``environment`` is not 1.1."""

    text: str


class Reset:
    """``!reset``: what earlier files say of this is taken away."""


class Override:
    """``!override``: this stands instead of what earlier files say, and is not merged with it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def settled(value: Any) -> Any:
    """The tree without ``!reset`` and ``!override``, when there is nothing more to merge it with."""
    if isinstance(value, Override):
        return settled(value.value)
    if isinstance(value, Table):
        table = Table()
        for key, item in value.items():
            if not isinstance(item, Reset):
                table.put(key, settled(item), value.places[key])
        return table
    if isinstance(value, Items):
        items = Items()
        for item, place in zip(value, value.places, strict=True):
            if not isinstance(item, Reset):
                items.add(settled(item), place)
        return items
    return value


def plain(value: Any) -> Any:
    """The same in ``dict`` and ``list``; a number that would be written otherwise is its text."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, (Integer, Decimal)):
        return float(value) if str(value) == value.text else value.text
    return value


def written(value: Any) -> str:
    """A scalar as text; booleans are ``true`` and ``false``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Integer, Decimal)):
        return value.text
    return str(value)
