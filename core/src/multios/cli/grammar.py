"""Commands as plain data, and the fast parser over them.

A command line that is right is parsed here, without click; one that is not — or that asks for help — makes
:func:`parse` return ``None``, and :mod:`multios.cli.click_group`, made from the same tables, says what is wrong.
Whatever this parser accepts, click reads the same way (a property test holds both to it).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from multios.cli.context import Context

    Values = dict[str, Any]
    Handler = Callable[[Values, Context], int | None]

# What an option holds: its value when it is absent is False, None, [] or {}.
FLAG, TEXT, INTEGER, CORES, LIST, PAIRS = "flag", "text", "integer", "cores", "list", "pairs"


class Option:
    """``names`` as typed (``"-e --env"``), ``key`` in the parsed values, ``kind`` as above.

    ``choices`` are the only values allowed; ``completes`` names what to complete with (``containers``,
    ``images``, ``networks``, ``templates``, ``volumes``, ``files``).
    """

    __slots__ = ("choices", "completes", "help", "key", "kind", "metavar", "names")

    def __init__(
        self,
        names: str,
        key: str,
        kind: str,
        help: str,
        metavar: str = "",
        choices: tuple[str, ...] = (),
        completes: str = "",
    ) -> None:
        self.names = names.split()
        self.key = key
        self.kind = kind
        self.help = help
        self.metavar = metavar
        self.choices = choices
        self.completes = completes


class Argument:
    """A positional: ``least`` and ``most`` (0: no bound) words; many words are a list, at most one is a text."""

    __slots__ = ("completes", "key", "least", "metavar", "most")

    def __init__(self, key: str, metavar: str, least: int = 1, most: int = 1, completes: str = "") -> None:
        self.key = key
        self.metavar = metavar
        self.least = least
        self.most = most
        self.completes = completes


class Command:
    """``run`` gets the parsed values; ``interspersed`` is false where options end at the first positional.

    Only the last argument may take more than one word.
    """

    __slots__ = ("arguments", "details", "examples", "interspersed", "options", "run")

    def __init__(
        self,
        run: Handler,
        options: tuple[Option, ...] = (),
        arguments: tuple[Argument, ...] = (),
        details: str = "",
        examples: tuple[str, ...] = (),
        interspersed: bool = True,
    ) -> None:
        self.run = run
        self.options = options
        self.arguments = arguments
        self.details = details
        self.examples = examples
        self.interspersed = interspersed


def convert(option: Option, text: str) -> Any:
    """The value that ``text`` gives ``option``. Raises ``ValueError`` with what is expected."""
    if option.choices and text not in option.choices:
        raise ValueError(f"{text!r} is not one of {', '.join(option.choices)}")
    if option.kind == INTEGER:
        digits = text[1:] if text[:1] == "-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise ValueError(f"{text!r} is not a whole number")
        return int(text)
    if option.kind == CORES and text[-1:] != "%":
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither a number of cores nor a percentage") from None
    if option.kind == PAIRS:
        key, separator, value = text.partition("=")
        if not (separator and key):
            raise ValueError(f"{text!r} is not KEY=VALUE")
        return key, value
    return text


def absent(option: Option) -> Any:
    """The value of ``option`` when it is not given."""
    return {FLAG: False, LIST: [], PAIRS: {}}.get(option.kind)


def store(option: Option, value: Any, values: Values) -> None:
    """Put a converted value where it belongs."""
    if option.kind == LIST:
        values[option.key].append(value)
    elif option.kind == PAIRS:
        values[option.key][value[0]] = value[1]
    else:
        values[option.key] = value


def parse(command: Command, words: list[str]) -> Values | None:
    """The values of a command line that is right without any doubt, else ``None``."""
    names = {name: option for option in command.options for name in option.names}
    values = {option.key: absent(option) for option in command.options}
    positionals: list[str] = []
    position, end = 0, len(words)
    while position < end:
        word = words[position]
        position += 1
        if word == "--":
            positionals += words[position:]
            break
        if word[:1] != "-" or word == "-":
            if not command.interspersed:
                positionals += words[position - 1 :]
                break
            positionals.append(word)
            continue
        used = _option(names, word, words[position] if position < end else None, values)
        if used < 0:
            return None
        position += used
    return values if _arguments(command.arguments, positionals, values) else None


def _option(names: dict[str, Option], word: str, following: str | None, values: Values) -> int:
    """Read one option word; how many of the following words it took, or −1 if it is not right."""
    if word[:2] == "--":
        name, separator, text = word.partition("=")
        option = names.get(name)
        if option is None or (separator and option.kind == FLAG):
            return -1
        return _value(option, text if separator else None, following, values)
    for index in range(1, len(word)):
        option = names.get("-" + word[index])
        if option is None:
            return -1
        if option.kind != FLAG:
            rest = word[index + 1 :]
            return -1 if rest[:1] == "=" else _value(option, rest or None, following, values)
        values[option.key] = True
    return 0


def _value(option: Option, text: str | None, following: str | None, values: Values) -> int:
    used = 0
    if option.kind == FLAG:
        values[option.key] = True
        return 0
    if text is None:
        if following is None:
            return -1
        text, used = following, 1
    try:
        store(option, convert(option, text), values)
    except ValueError:
        return -1
    return used


def _arguments(arguments: tuple[Argument, ...], words: list[str], values: Values) -> bool:
    for argument in arguments:
        if len(words) < argument.least:
            return False
        if argument.most == 1:
            values[argument.key] = words[0] if words else None
            words = words[1:]
        else:
            values[argument.key] = words
            words = []
    return not words
