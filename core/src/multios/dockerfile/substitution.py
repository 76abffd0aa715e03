"""Variables, quotes and escapes of one word, as BuildKit's shell lexer takes them (reference, "Environment replacement")."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from multios.dockerfile.patterns import LONGEST_VALUE, Pattern
from multios.dockerfile.words import SPACES
from multios.errors import InvalidInput

DEEPEST = 50
_SPECIAL = "@*#?-$!"
_END = ""


def substitute(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """``text`` with its variables replaced, quotes taken off, escapes obeyed. Raises ``InvalidInput``."""
    return _Scanner(text, variables, escape, quotes=True).read_all()[0]


def substitute_words(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """The same, split at the spaces that are neither quoted nor escaped; a variable's value is split too."""
    return _Scanner(text, variables, escape, quotes=True).read_all()[1]


def substitute_document(text: str, variables: Mapping[str, str]) -> str:
    """A document's text: variables and backslashes, but quotes stay as they are."""
    return _Scanner(text, variables, "\\", quotes=False).read_all()[0]


class _Words:
    """Gathers words; what is quoted never ends one."""

    def __init__(self) -> None:
        self._word: list[str] = []
        self._words: list[str] = []

    def add(self, text: str) -> None:
        for character in text:
            if character not in SPACES:
                self._word.append(character)
            elif self._word:
                self._words.append("".join(self._word))
                self._word = []

    def add_quoted(self, text: str) -> None:
        self._word.append(text)

    def all(self) -> list[str]:
        self.add(" ")
        return [word for word in self._words if word]


class _Scanner:
    """Reads a word once, from left to right."""

    def __init__(self, text: str, variables: Mapping[str, str], escape: str, quotes: bool) -> None:
        self._text, self._variables, self._escape = text, variables, escape
        self._quotes = quotes
        self._position = 0
        self._depth = 0
        self._length = 0

    def read_all(self) -> tuple[str, list[str]]:
        return self._read("", keep_escapes=False)

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _take(self) -> str:
        character = self._peek()
        self._position += 1
        return character

    def _bounded(self, value: str) -> str:
        """Bounds what grows by substitution: a variable of variables of variables."""
        self._length += len(value)
        if self._length > LONGEST_VALUE:
            raise InvalidInput(
                f"what the variables give is longer than {LONGEST_VALUE} characters", "make them shorter"
            )
        return value

    def _read(self, stop: str, keep_escapes: bool) -> tuple[str, list[str]]:
        """Up to ``stop``, which is taken too, or to the end."""
        result: list[str] = []
        words = _Words()
        while (character := self._peek()) != _END:
            if character == stop:
                self._take()
                return "".join(result), words.all()
            if character == "$":
                value = self._dollar()
                words.add(value)
            elif self._quotes and character in "'\"":
                value = self._single() if character == "'" else self._double(keep_escapes)
                words.add_quoted(value)
            elif character == self._escape:
                value = self._escaped(keep_escapes)
                words.add_quoted(value)
            else:
                value = self._take()
                words.add(value)
            result.append(value)
        if stop:
            raise InvalidInput(f"{self._text[:80]!r}: missing {stop!r}", "expected ${NAME…}")
        return "".join(result), words.all()

    def _escaped(self, keep: bool) -> str:
        escape = self._take()
        return (escape if keep else "") + self._take()

    def _single(self) -> str:
        """Everything to the next single quote means itself."""
        end = self._text.find("'", self._position + 1)
        if end < 0:
            raise InvalidInput(f"{self._text[:80]!r}: a single quote without its end", "expected another '")
        value = self._text[self._position + 1 : end]
        self._position = end + 1
        return value

    def _double(self, keep_escapes: bool) -> str:
        """To the next double quote; only ``"``, ``$`` and the escape itself can be escaped in it."""
        self._take()
        result: list[str] = []
        while (character := self._peek()) != '"':
            if character == _END:
                raise InvalidInput(
                    f"{self._text[:80]!r}: a double quote without its end", 'expected another "'
                )
            if character == "$":
                result.append(self._dollar())
                continue
            self._take()
            if character == self._escape:
                following = self._peek()
                if following == _END:
                    continue
                if following in ('"', "$", self._escape):
                    character = (character if keep_escapes else "") + self._take()
            result.append(character)
        self._take()
        return "".join(result)

    def _dollar(self) -> str:
        self._take()
        if self._peek() != "{":
            name = self._name()
            return self._bounded(self._variables.get(name, "")) if name else "$"
        self._take()
        self._depth += 1
        if self._depth > DEEPEST:
            raise InvalidInput(f"{self._text[:80]!r}: variables nested too deep", f"at most {DEEPEST} levels")
        value = self._bounded(self._braced())
        self._depth -= 1
        return value

    def _name(self) -> str:
        """A name, one of the shell's special parameters, a number, or nothing."""
        start = self._position
        if self._peek() and self._peek() in _SPECIAL:
            return self._take()
        belongs: Callable[[str], bool] = str.isdecimal if self._peek().isdecimal() else _in_name
        while self._peek() and belongs(self._peek()):
            self._position += 1
        return self._text[start : self._position]

    def _braced(self) -> str:
        """What stands between the braces (POSIX shell, "Parameter expansion")."""
        if self._peek() in ("{", "}", ":", _END):
            raise InvalidInput(
                f"{self._text[:80]!r}: a bad substitution", "expected ${NAME} or ${NAME:-WORD}"
            )
        name = self._name()
        operator = self._take()
        value = self._variables.get(name)
        if operator == "}":
            return value or ""
        if operator == "/":
            return self._replaced(value or "")
        empty_is_unset = operator == ":"
        if empty_is_unset:
            operator = self._take()
        if operator == _END or operator not in ("-+?" if empty_is_unset else "-+?#%"):
            raise InvalidInput(
                f"{self._text[:80]!r}: unknown modifier {operator!r}",
                "expected one of :- :+ :? - + ? # ## % %% / //",
            )
        word, _ = self._read("}", keep_escapes=operator in "#%")
        missing = value is None or (empty_is_unset and not value)
        if operator == "-":
            return word if missing else value or ""
        if operator == "+":
            return "" if missing else word
        if operator == "?":
            if missing:
                reason = word or ("is empty" if value == "" else "is not set")
                raise InvalidInput(f"{name}: {reason}", f"give it with --build-arg {name}=… or by ARG or ENV")
            return value or ""
        return _trimmed(operator, word, value or "")

    def _replaced(self, value: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._take()
        pattern, _ = self._read("/", keep_escapes=True)
        replacement, _ = self._read("}", keep_escapes=True)
        return Pattern(pattern).replace(value, replacement, everywhere)


def _in_name(character: str) -> bool:
    return character == "_" or character.isalpha() or character.isdecimal()


def _trimmed(operator: str, word: str, value: str) -> str:
    longest = word.startswith(operator)
    pattern = Pattern(word[1:] if longest else word)
    if operator == "#":
        return pattern.without_prefix(value, longest)
    return pattern.without_suffix(value, longest)
