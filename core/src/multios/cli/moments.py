"""Times as users write them: a duration before now, a Unix time or an ISO 8601 time."""

from __future__ import annotations

import time

from multios.errors import InvalidInput

_SECOND = 1_000_000_000
_UNITS = {"s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND, "d": 86400 * _SECOND}


def moment(text: str, option: str) -> float:
    """Seconds since the epoch for ``10m``, ``1h30m``, ``1769860800.5`` or ``2026-01-31T12:00:00``.

    ``InvalidInput`` names ``option``.
    """
    return nanoseconds(text, option) / _SECOND


def nanoseconds(text: str, option: str) -> int:
    """As :func:`moment`, exactly: a time that a log shows is the time that the log holds."""
    for read in (_unix, _before_now, _iso):
        found = read(text)
        if found is not None:
            return found
    remedy = "write a duration such as 10m, or a time such as 2026-01-31T12:00:00"
    raise InvalidInput(f"{option}: {text!r} is no time", remedy)


def stamp(moment: int) -> str:
    """Nanoseconds since the epoch as a log writes them."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // _SECOND))
    return f"{whole}.{moment % _SECOND:09}Z"


def _unix(text: str) -> int | None:
    whole, _, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdecimal()):
        return None
    below = _fraction(fraction)
    return None if below is None else int(whole) * _SECOND + below


def _before_now(text: str) -> int | None:
    total, number = 0.0, ""
    for character in text:
        if character.isdecimal() or character == ".":
            number += character
        elif character in _UNITS and number.replace(".", "", 1).isdecimal():
            total, number = total + float(number) * _UNITS[character], ""
        else:
            return None
    return time.time_ns() - int(total) if text and not number else None


def _iso(text: str) -> int | None:
    from datetime import datetime  # deferred: 3 ms

    whole, point, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    below = _fraction(digits)
    if below is None or bool(point) != bool(digits):
        return None
    try:
        return int(datetime.fromisoformat(whole + rest[len(digits) :]).timestamp()) * _SECOND + below
    except (ValueError, OverflowError):
        return None


def _fraction(digits: str) -> int | None:
    """Nanoseconds of the digits after the point; what is finer is cut off."""
    if digits and not (digits.isascii() and digits.isdecimal()):
        return None
    return int(digits[:9].ljust(9, "0"))
