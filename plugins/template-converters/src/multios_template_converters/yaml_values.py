"""YAML, with the line of every value. Only the composer of PyYAML is used: it makes no objects but nodes."""

from __future__ import annotations

import re
from typing import Any

import yaml

from multios.errors import InvalidInput
from multios_template_converters.values import DEEPEST, MOST_VALUES, Account, Value, below, clean, shown

_TEXT = "tag:yaml.org,2002:str"
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?[0-9]{1,17}\.[0-9]{0,17}(?:[eE][-+]?[0-9]{1,2})?")
_MERGE = "<<"


def read(text: str, account: Account) -> Value:
    """The document; ``InvalidInput`` with file and line for what is no YAML, too deep or, its aliases followed, too large."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise account.wrong("YAML", 1, f"is deeper than {DEEPEST}", "flatten it") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise account.wrong("YAML", line, error.problem or "cannot be read", "see https://yaml.org") from None
    except (yaml.YAMLError, ValueError) as error:
        raise account.wrong("YAML", 1, shown(str(error), 200), "see https://yaml.org") from None
    return _Tree(account).value(node, "", 0) if node else Value(None, 1)


class _Tree:
    """An alias counts as often as it is used: what laughs a billion times is refused long before."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._values = 0

    def value(self, node: Any, key: str, depth: int) -> Value:
        line = node.start_mark.line + 1
        self._values += 1
        if depth > DEEPEST or self._values > MOST_VALUES:
            raise self._wrong(
                key, line, f"more than {MOST_VALUES} values, aliases followed, or deeper than {DEEPEST}"
            )
        if isinstance(node, yaml.MappingNode):
            return Value(self._table(node, key, depth), line)
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return Value([self.value(item, below(key, number), depth + 1) for number, item in items], line)
        return Value(self._scalar(node, key, line), line)

    def _wrong(self, key: str, line: int, what: str) -> InvalidInput:
        return self._account.wrong(key or "YAML", line, what, "write it plainly")

    def _table(self, node: Any, key: str, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for name_node, item in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                raise self._wrong(key, name_node.start_mark.line + 1, "a key is no text")
            name = name_node.value
            path = below(key, name)
            value = self.value(item, path, depth + 1)
            if name == _MERGE:
                for table in value.data if isinstance(value.data, list) else [value]:
                    merged = {**self._account.table(path, table), **merged}
            elif name in found or not clean(name):
                raise self._wrong(path, value.line, "is there twice, or cannot be printed")
            else:
                # The key's line is where one looks; a mapping begins below it.
                found[name] = Value(value.data, name_node.start_mark.line + 1)
        return {**merged, **found}

    def _scalar(self, node: Any, key: str, line: int) -> Any:
        """As YAML 1.2 has it: PyYAML's own reading, of 1.1, makes a number of the ports ``80:22``."""
        text = node.value
        if node.style is None and node.tag != _TEXT:
            if text.lower() in _WORDS:
                return _WORDS[text.lower()]
            if _INTEGER.fullmatch(text):
                return int(text)
            if _FLOAT.fullmatch(text):
                return float(text)
        return self._text(text, key, line)

    def _text(self, text: str, key: str, line: int) -> str:
        if not clean(text):
            raise self._wrong(key, line, "a text has characters that cannot be printed")
        return text
