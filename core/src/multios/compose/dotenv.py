"""``.env`` files: ``NAME=value`` lines, with quotes, comments, ``export``, values of several lines, and variables.

Values without quotes end at the line's end or at `` #``; in single quotes everything stands for itself but ``\\'``; in double
quotes ``\\n``, ``\\r``, ``\\t``, ``\\"``, ``\\\\`` and ``\\$`` mean what they do in a shell's ``$'…'``. Variables are put in but for
single quotes. A ``NAME`` alone is the caller's variable, if there is one.
"""

from __future__ import annotations

from multios.compose.interpolation import Malformed, substitute
from multios.compose.report import wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_VARIABLES = 10_000
LARGEST_TOTAL = 16 << 20
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_BLANK = " \t\v\f\r\x85\xa0"
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


def parse(
    text: str, name: str, variables: Mapping[str, str], earlier: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables of the file ``name``.

    Values may refer to ``variables``, then to those of the file itself, then to ``earlier``, which are those of other files.
    """
    return _Reader(text, name, variables, earlier or {}).read()


def parse_raw(text: str, name: str) -> dict[str, str]:
    """With ``format: raw``: what stands behind the ``=`` is the value, to the letter."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        key, equals, value = line.partition("=")
        if line.strip() and not line.lstrip().startswith("#"):
            if not equals or not key.strip():
                raise wrong((name, number), "", "this line is not NAME=VALUE", "correct it")
            found[key.strip()] = value
    return found


class _Reader:
    def __init__(
        self, text: str, name: str, variables: Mapping[str, str], earlier: Mapping[str, str]
    ) -> None:
        self._text, self._name, self._outside = text.removeprefix("\ufeff"), name, variables
        self._at, self._line, self._total = 0, 1, 0
        self._found: dict[str, str] = {}
        self._variables = {**earlier, **variables}

    def read(self) -> dict[str, str]:
        while self._skip():
            key = self._key()
            if self._peek() in ("", "\n", "#"):
                if key in self._outside:
                    self._keep(key, self._outside[key])
                self._to_end_of_line()
                continue
            self._at += 1
            self._skip_blanks()
            self._keep(key, self._value())
        return self._found

    def _keep(self, key: str, value: str) -> None:
        self._found[key] = value
        if key not in self._outside:
            self._variables[key] = value
        self._total += len(value)
        if len(self._found) > MOST_VARIABLES or self._total > LARGEST_TOTAL:
            raise self._wrong("there are too many variables", "leave some out")

    def _wrong(self, cause: str, remedy: str) -> Exception:
        return wrong((self._name, self._line), "", cause, remedy)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_blanks(self) -> None:
        while self._peek() and self._peek() in _BLANK:
            self._at += 1

    def _to_end_of_line(self) -> None:
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end

    def _skip(self) -> bool:
        """To the next variable; whether there is one."""
        while True:
            self._skip_blanks()
            if self._peek() == "\n":
                self._line += 1
                self._at += 1
            elif self._peek() == "#":
                self._to_end_of_line()
            else:
                return bool(self._peek())

    def _key(self) -> str:
        if self._text.startswith("export", self._at) and self._text[self._at + 6 : self._at + 7] in (
            " ",
            "\t",
        ):
            self._at += 6
            self._skip_blanks()
        start = self._at
        while self._peek() in _NAME and self._peek():
            self._at += 1
        key = self._text[start : self._at]
        self._skip_blanks()
        if not key or self._peek() not in ("", "\n", "#", "=", ":"):
            shown = self._text[start : start + 40].split("\n")[0]
            raise self._wrong(f"{shown!r} does not begin with a variable's name and =", "write NAME=VALUE")
        return key

    def _value(self) -> str:
        quote = self._peek()
        if quote in ("'", '"') and quote:
            line = self._line
            self._at += 1
            value = self._quoted(quote, line)
            self._after_quotes()
            return value if quote == "'" else self._expanded(value)
        start = self._at
        self._to_end_of_line()
        value = self._text[start : self._at]
        if value.startswith("#"):
            return ""
        for blank in (" #", "\t#"):
            value = value.partition(blank)[0]
        return self._expanded(value.rstrip())

    def _quoted(self, quote: str, line: int) -> str:
        parts = []
        while (character := self._peek()) != quote:
            if not character:
                raise wrong(
                    (self._name, line), "", f"the value's {quote} is not closed", f"write {quote} at its end"
                )
            following = self._text[self._at + 1 : self._at + 2]
            if character == "\\" and quote == "'" and following == "'":
                parts.append("'")
                self._at += 2
                continue
            if character == "\\" and quote == '"' and following in _ESCAPES:
                parts.append(_ESCAPES[following])
                self._at += 2
                continue
            self._line += character == "\n"
            parts.append(character)
            self._at += 1
        self._at += 1
        return "".join(parts)

    def _after_quotes(self) -> None:
        self._skip_blanks()
        if self._peek() not in ("", "\n", "#"):
            raise self._wrong("more follows the closing quote", "put all of the value into quotes")
        self._to_end_of_line()

    def _expanded(self, value: str) -> str:
        if "$" not in value:
            return value
        try:
            return substitute(value, self._variables, lambda name: None)
        except Malformed as error:
            if "required" in error.cause or "more than" in error.cause:
                raise self._wrong(error.cause, error.remedy) from None
            return value  # a password may have a dollar: it stands for itself where it means nothing
