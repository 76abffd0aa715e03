"""Variables in values: ``$NAME``, ``${NAME}``, ``${NAME:-default}`` and its kin, nested; ``$$`` is a dollar.

With a colon an empty variable counts as one that is not set::

    ${NAME:-word} ${NAME-word}    the variable, else word
    ${NAME:?word} ${NAME?word}    the variable, else an error that says word
    ${NAME:+word} ${NAME+word}    word if there is the variable, else nothing
"""

from __future__ import annotations

from multios.compose.report import at, wrong
from multios.compose.tree import Items, Override, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from multios.compose.report import Report
    from multios.compose.tree import Place

LARGEST_VALUE = 1 << 20
"""Characters of one value with its variables put in."""
LARGEST_TOTAL = 16 << 20
MOST_DEPTH = 32
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_LATER = _FIRST | frozenset("0123456789")


class Malformed(ValueError):
    """Text in which a ``$`` means nothing; or one that is required and missing, or too much of them."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause, self.remedy = cause, remedy


def substitute(text: str, variables: Mapping[str, str], missing: Callable[[str], None]) -> str:
    """``text`` with its variables put in; ``missing`` is told of each that is not there and has no default."""
    return _Expansion(text, variables, missing).all()


class _Expansion:
    def __init__(self, text: str, variables: Mapping[str, str], missing: Callable[[str], None]) -> None:
        self._text, self._variables, self._missing = text, variables, missing
        self._at = self._length = self._depth = 0

    def all(self) -> str:
        return self._until_end(is_wanted=True)

    def _until_end(self, is_wanted: bool) -> str:
        """Up to the end, or, within braces, to the one that closes them."""
        text, parts, braces = self._text, [], 0
        while self._at < len(text):
            character = text[self._at]
            if character == "$":
                parts.append(self._dollar(is_wanted))
                continue
            if self._depth and character in "{}":
                if character == "}" and not braces:
                    break
                braces += 1 if character == "{" else -1
            following = self._at + 1
            while following < len(text) and text[following] not in "${}":
                following += 1
            parts.append(self._kept(text[self._at : following]))
            self._at = following
        return "".join(parts)

    def _kept(self, part: str) -> str:
        self._length += len(part)
        if self._length > LARGEST_VALUE:
            raise Malformed(
                f"with its variables it has more than {LARGEST_VALUE} characters", "make it shorter"
            )
        return part

    def _dollar(self, is_wanted: bool) -> str:
        following = self._text[self._at + 1 : self._at + 2]
        if following == "$":
            self._at += 2
            return self._kept("$")
        if following == "{":
            self._at += 2
            return self._braced(is_wanted)
        self._at += 1
        return self._plain(self._name(), is_wanted)

    def _name(self) -> str:
        text, start = self._text, self._at
        if start < len(text) and text[start] in _FIRST:
            self._at += 1
            while self._at < len(text) and text[self._at] in _LATER:
                self._at += 1
        if self._at == start:
            raise Malformed(
                f"{text[max(0, start - 2) : start + 20]!r}: no variable's name follows the $",
                "write $$ for a dollar",
            )
        return text[start : self._at]

    def _plain(self, name: str, is_wanted: bool) -> str:
        if is_wanted and name not in self._variables:
            self._missing(name)
        return self._kept(self._variables.get(name, "") if is_wanted else "")

    def _braced(self, is_wanted: bool) -> str:
        name = self._name()
        if self._text[self._at : self._at + 1] == "}":
            self._at += 1
            return self._plain(name, is_wanted)
        colon = self._text[self._at : self._at + 1] == ":"
        self._at += colon
        operator = self._text[self._at : self._at + 1]
        if not operator or operator not in "-?+":
            raise Malformed(
                f"${{{name} is not closed, or followed by something unknown",
                "write ${NAME}, ${NAME:-default} or $$",
            )
        self._at += 1
        value = self._variables.get(name)
        is_set = bool(value) if colon else value is not None
        uses_word = is_wanted and is_set == (operator == "+")
        word = self._word(name, uses_word)
        if operator == "?" and uses_word:
            raise Malformed(
                f"variable {name} is required: {word}" if word else f"variable {name} is required",
                f"set {name}",
            )
        if uses_word:
            return word
        return self._kept(value or "") if is_wanted and is_set and operator != "+" else ""

    def _word(self, name: str, is_wanted: bool) -> str:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise Malformed(f"variables are nested more than {MOST_DEPTH} deep", "make it simpler")
        word = self._until_end(is_wanted)
        self._depth -= 1
        if self._text[self._at : self._at + 1] != "}":
            raise Malformed(f"${{{name} is not closed", "write }, or $$ for a dollar")
        self._at += 1
        return word


class Interpolation:
    """Puts variables into the values of whole trees, and warns of those that are missing."""

    def __init__(self, variables: Mapping[str, str], report: Report) -> None:
        self.variables, self._report, self._total = variables, report, 0

    def tree(self, value: Any, path: str, place: Place) -> Any:
        """A copy of ``value``, which is at ``path``; keys stay as they are."""
        if isinstance(value, str):
            return self.text(value, path, place) if "$" in value else value
        if isinstance(value, Table):
            table = Table()
            for key, item in value.items():
                found = value.places[key]
                table.put(key, self.tree(item, f"{path}.{key}" if path else key, found), found)
            return table
        if isinstance(value, Items):
            items = Items()
            for number, (item, found) in enumerate(zip(value, value.places, strict=True)):
                items.add(self.tree(item, f"{path}[{number}]", found), found)
            return items
        return Override(self.tree(value.value, path, place)) if isinstance(value, Override) else value

    def text(self, text: str, path: str, place: Place) -> str:
        """One value; what cannot be read names its place."""

        def missing(name: str) -> None:
            self._report.warn(f"{at(place, path)}: variable {name} is not set: nothing stands in its place")

        try:
            result = substitute(text, self.variables, missing)
        except Malformed as error:
            raise wrong(place, path, error.cause, error.remedy) from None
        self._total += len(result)
        if self._total > LARGEST_TOTAL:
            raise wrong(place, path, "variables make the files too large", "make their values shorter")
        return result
