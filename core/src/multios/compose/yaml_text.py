"""YAML as Compose files are written in it, read event by event, so that every bound holds before memory is used.

Scalars are those of YAML 1.2: ``yes``, ``no``, ``on``, ``22:22`` and dates are text. Of 1.1 are left merge keys (``<<``)
and octal numbers such as ``0640``. The tags of the Compose Specification are ``!reset`` and ``!override``.
"""

from __future__ import annotations

from multios.compose.libyaml import parser_class
from multios.compose.tree import Decimal, Integer, Items, Override, Reset, Table
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LARGEST = 1 << 20
"""Characters of one file."""
MOST_NODES = 100_000
"""Scalars, mappings and sequences of one file, those that aliases repeat counted each time."""
MOST_DEPTH = 64
_LONGEST_NUMBER = 40
_TAG = "tag:yaml.org,2002:"
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_DIGITS = frozenset("0123456789")
_NUMERIC = frozenset("0123456789.eE+-")
_MERGE = "<<"


def read(text: str, name: str) -> list[Any]:
    """The documents of a file that is called ``name``; ``InvalidInput`` names file and line."""
    if len(text) > LARGEST:
        raise InvalidInput(f"{name}: it has more than {LARGEST} characters", "split it with include")
    parser = parser_class()
    from yaml.error import YAMLError  # after the parser: alone it would import all of PyYAML

    try:
        return _Reader(parser(text).get_event, name).documents()
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        last = text.rstrip().count("\n") + 1  # the end of the file is behind it
        line = f":{min(mark.line + 1, last)}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise InvalidInput(f"{name}{line}: this is not YAML: {problem}", "correct the line") from None


class _Reader:
    def __init__(self, get_event: Callable[[], Any], name: str) -> None:
        from yaml import events

        self._get, self._name, self._nodes, self._depth = get_event, name, 0, 0
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        """Of each anchor its value and how many nodes it has; ``None`` while it is being read."""
        self._scalar, self._alias = events.ScalarEvent, events.AliasEvent
        self._sequence, self._mapping = events.SequenceStartEvent, events.MappingStartEvent
        self._ends = (events.SequenceEndEvent, events.MappingEndEvent)
        self._document, self._end = events.DocumentStartEvent, events.StreamEndEvent

    def documents(self) -> list[Any]:
        documents = []
        while not isinstance(event := self._get(), self._end):
            if isinstance(event, self._document):
                self._anchors = {}
                documents.append(self._value(self._get()))
        return documents

    def _error(self, event: Any, cause: str, remedy: str) -> InvalidInput:
        return InvalidInput(f"{self._name}:{event.start_mark.line + 1}: {cause}", remedy)

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise self._error(event, f"the file has more than {MOST_NODES} values", "split it with include")

    def _value(self, event: Any) -> Any:
        kind = type(event)
        if kind is self._alias:
            return self._repeated(event)
        before = self._nodes
        self._count(event, 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        value: Any
        if kind is self._scalar:
            value = self._scalar_value(event)
        else:
            self._depth += 1
            if self._depth > MOST_DEPTH:
                raise self._error(event, f"it is nested more than {MOST_DEPTH} deep", "make it simpler")
            value = self._table(event) if kind is self._mapping else self._items(event)
            self._depth -= 1
            if event.tag is not None:
                value = self._tagged(event, value, "map" if kind is self._mapping else "seq")
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._nodes - before)
        return value

    def _repeated(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise self._error(event, f"there is no anchor &{event.anchor} before this", "define it first")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise self._error(event, f"&{event.anchor} contains itself", "leave the alias out")
        self._count(event, anchored[1])
        return anchored[0]

    def _tagged(self, event: Any, value: Any, native: str) -> Any:
        if event.tag == "!reset":
            return Reset()
        if event.tag == "!override":
            return Override(value)
        if event.tag in ("!", _TAG + native):
            return value
        shown = str(event.tag).replace(_TAG, "!!")[:80]
        raise self._error(
            event, f"the tag {shown} is not known here", "use !reset or !override, or leave it out"
        )

    def _scalar_value(self, event: Any) -> Any:
        text: str = event.value
        if event.tag is None:
            return resolved(text) if event.implicit[0] else text
        wanted = event.tag.removeprefix(_TAG)
        if wanted in ("int", "float", "bool", "null"):
            value = resolved(text)
            kinds: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
            if not isinstance(value, kinds[wanted]) or (isinstance(value, bool) and wanted != "bool"):
                raise self._error(event, f"{text[:80]!r} is no {wanted}", f"leave out !!{wanted}")
            return value
        return self._tagged(event, text, "str")

    def _items(self, event: Any) -> Items:
        items = Items()
        while type(event := self._get()) not in self._ends:
            items.add(self._value(event), (self._name, event.start_mark.line + 1))
        return items

    def _table(self, event: Any) -> Table:
        table, merged = Table(), Items()
        while type(event := self._get()) not in self._ends:
            key, is_merge = self._key(event)
            place = (self._name, event.start_mark.line + 1)
            if key in table or (is_merge and merged):
                before = f" (line {table.places[key][1]})" if key in table else ""
                raise self._error(event, f"the key {key!r} is given twice{before}", "leave one of them out")
            value_event = self._get()
            value = self._value(value_event)
            if is_merge:
                merged = self._sources(value_event, value)
            else:
                table.put(key, value, place)
        for source in merged:
            for key, value in source.items():
                if key not in table:
                    table.put(key, value, source.places[key])
        return table

    def _key(self, event: Any) -> tuple[str, bool]:
        value = self._value(event)
        if value is None or not isinstance(value, (str, int, float)):
            raise self._error(event, "a key is not text", "write the key as text")
        if isinstance(value, str):
            return value, value == _MERGE and type(event) is self._scalar and event.implicit[0]
        return event.value if type(event) is self._scalar else str(value), False

    def _sources(self, event: Any, value: Any) -> Items:
        if isinstance(value, Table):
            sources = Items()
            sources.add(value, (self._name, event.start_mark.line + 1))
            return sources
        if isinstance(value, Items) and all(isinstance(item, Table) for item in value):
            return value
        raise self._error(event, "<< takes a mapping, or a list of them", "name an anchor: <<: *NAME")


def resolved(text: str) -> Any:
    """What a plain scalar is."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789" or len(text) > _LONGEST_NUMBER:
        return text
    number = _whole(text)
    if number is not None:
        if str(number) == text:
            return number
        whole = Integer(number)
        whole.text = text
        return whole
    if _NUMERIC.issuperset(text) and not _DIGITS.isdisjoint(text):
        try:
            decimal = Decimal(text)
        except ValueError:
            return text
        decimal.text = text
        return decimal if abs(decimal) < 1e300 else text
    return text


def _whole(text: str) -> int | None:
    digits = text[1:] if text[0] in "+-" else text
    for prefix, base in (("0o", 8), ("0x", 16), ("0b", 2), ("0", 8)):
        if digits.startswith(prefix) and len(digits) > len(prefix):
            try:
                return -int(digits, base) if text[0] == "-" else int(digits, base)
            except ValueError:
                return None
    return int(text) if digits and _DIGITS.issuperset(digits) else None
