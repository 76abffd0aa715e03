"""The options of a template: what each may be, and the text that stands for its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multios.errors import InvalidInput, nearest
from multios.model.template import Parameter

TYPES = ("text", "choice", "integer", "boolean")
LONGEST_TEXT = 200
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_LONGEST_NUMBER = 18


def check_declaration(parameter: Parameter, path: str) -> None:
    """Raise ``InvalidInput`` where a parameter contradicts itself; ``path`` begins the error."""
    if parameter.type not in TYPES:
        guess = nearest(parameter.type, list(TYPES))
        raise InvalidInput(
            f"{path}.type: {parameter.type!r} is not known",
            f"did you mean {guess!r}?" if guess else f"one of {', '.join(TYPES)}",
        )
    if bool(parameter.choices) != (parameter.type == "choice"):
        raise InvalidInput(
            f"{path}.choices: belongs to type = 'choice', and to no other", 'for example ["12", "13"]'
        )
    bounds = (parameter.minimum, parameter.maximum)
    for name, bound in zip(("minimum", "maximum"), bounds, strict=True):
        if bound is not None and parameter.type != "integer":
            raise InvalidInput(f"{path}.{name}: belongs to type = 'integer'", "leave it out")
    if None not in bounds and bounds[0] > bounds[1]:  # type: ignore[operator]
        raise InvalidInput(f"{path}.minimum: is above the maximum", "exchange them")
    for value in (*parameter.choices, parameter.default):
        if not value.isprintable() or len(value) > LONGEST_TEXT:
            raise InvalidInput(f"{path}: a value is too long or not printable", "use one short line")
    try:
        checked(parameter, parameter.default)
    except InvalidInput as error:
        raise InvalidInput(f"{path}.default: {error.cause}", error.remedy) from None


def chosen(template: str, parameters: Sequence[Parameter], values: Mapping[str, str]) -> dict[str, str]:
    """Every option's value: the one given, checked, else the default. Errors name template and option."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in values:
        if name not in known:
            guess = nearest(name, list(known))
            listed = ", ".join(known) or "it has none"
            raise InvalidInput(
                f"template {template!r} has no option {name!r}",
                f"did you mean {guess!r}?" if guess else f"options: {listed}",
            )
    found = {}
    for name, parameter in known.items():
        try:
            found[name] = checked(parameter, values.get(name, parameter.default))
        except InvalidInput as error:
            raise InvalidInput(
                f"template {template!r}, option {name!r}: {error.cause}", error.remedy
            ) from None
    return found


def checked(parameter: Parameter, value: str) -> str:
    """The value as it is put into texts; ``InvalidInput`` for what the parameter cannot be."""
    if parameter.type == "choice":
        return _choice(parameter.choices, value)
    if parameter.type == "integer":
        return _integer(parameter, value)
    if parameter.type == "boolean":
        return _boolean(value)
    if len(value) > LONGEST_TEXT or not value.isprintable():
        raise InvalidInput("too long or not printable", f"at most {LONGEST_TEXT} characters in one line")
    return value


def _choice(choices: Sequence[str], value: str) -> str:
    if value not in choices:
        guess = nearest(value, list(choices))
        hint = f"did you mean {guess!r}? " if guess else ""
        raise InvalidInput(f"{value[:80]!r} is not a choice", f"{hint}choices: {', '.join(choices)}")
    return value


def _integer(parameter: Parameter, value: str) -> str:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST_NUMBER):
        raise InvalidInput(f"{value[:80]!r} is not a whole number", "write digits alone")
    number = int(value)
    low, high = parameter.minimum, parameter.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        least = "" if low is None else f"at least {low}"
        most = "" if high is None else f"at most {high}"
        raise InvalidInput(f"{number} is out of bounds", ", ".join(part for part in (least, most) if part))
    return str(number)


def _boolean(value: str) -> str:
    if value.lower() in _TRUE + _FALSE:
        return "true" if value.lower() in _TRUE else "false"
    raise InvalidInput(f"{value[:80]!r} is neither true nor false", "write true or false")
