"""The ``WWW-Authenticate`` header (RFC 9110, section 11.6.1) as registries write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_SCHEME = re.compile(rf"\s*,*\s*({_TOKEN})(?:\s+|$|(?=,))")
_PARAMETER = re.compile(rf"""\s*,?\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))""")
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to say who one is; ``scheme`` in lower case (``bearer``, ``basic``)."""

    scheme: str
    parameters: Mapping[str, str]


def parse(header: str) -> tuple[Challenge, ...]:
    """The challenges of a header, in order; what cannot be read ends the list."""
    header = header[:_LONGEST]
    found: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        scheme, position = match[1].lower(), match.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            quoted = parameter[2]
            parameters[parameter[1].lower()] = (
                parameter[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            )
            position = parameter.end()
        found.append(Challenge(scheme, parameters))
    return tuple(found)
