"""Addresses and names of hosts, checked where they stand in the file."""

from __future__ import annotations

import _socket  # as the client: socket itself takes 4 ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.compose.field import Field

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_LONGEST_HOSTNAME, _LONGEST_LABEL, _LONGEST_NAME = 64, 63, 128
_FAMILIES = {4: _socket.AF_INET, 6: _socket.AF_INET6}


def address(field: Field, version: int = 0) -> str:
    """An IP address, of ``version`` 4 or 6 if that is not 0; brackets around one of IPv6 are taken off."""
    text = field.text().removeprefix("[").removesuffix("]")
    for family in [_FAMILIES[version]] if version else _FAMILIES.values():
        try:
            _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return text
    raise field.expected(f"an IPv{version} address" if version else "an IP address")


def subnet(field: Field) -> str:
    """An address, a slash and a length."""
    text, _, length = field.text().partition("/")
    version = 6 if ":" in text else 4
    try:
        _socket.inet_pton(_FAMILIES[version], text)
    except (OSError, ValueError):
        raise field.expected("a subnet such as 10.20.0.0/24") from None
    is_length = length.isascii() and length.isdecimal() and len(length) <= 3
    if not is_length or int(length) > (128 if version == 6 else 32):
        raise field.expected("a subnet such as 10.20.0.0/24")
    return field.text()


def mac(field: Field) -> str:
    """An interface's MAC, not one of a group."""
    parts = field.text().split(":")
    is_right = len(parts) == 6 and all(len(part) == 2 and _HEXADECIMAL.issuperset(part) for part in parts)
    if not is_right or int(parts[0], 16) & 1 or not any(int(part, 16) for part in parts):
        raise field.expected("a MAC of one interface such as 02:6d:ac:14:00:02")
    return field.text()


def checked_name(field: Field, name: str) -> str:
    """``name`` if the engine takes it for a network, volume or container."""
    is_right = 0 < len(name) <= _LONGEST_NAME and (_LETTERS | {"."}).issuperset(name) and name[0] not in "-_."
    if not is_right:
        raise field.error(
            f"{name[:80]!r} is not allowed as a name",
            f"use at most {_LONGEST_NAME} letters, digits, '_', '.' and '-', a letter or digit first",
        )
    return name


def hostname(field: Field, text: str = "") -> str:
    """A host's name, in which ``_`` is allowed for aliases only: see :func:`alias`."""
    name = alias(field, text)
    if "_" in name:
        raise field.error(f"{name!r} is no name of a host", "use letters, digits and '-'")
    return name


def alias(field: Field, text: str = "") -> str:
    """A name by which others find a container."""
    name = text or field.text()
    labels = name.split(".")
    is_right = all(0 < len(label) <= _LONGEST_LABEL and _LETTERS.issuperset(label) for label in labels)
    if not is_right or name[0] in "-_" or len(name) > _LONGEST_HOSTNAME:
        raise field.error(
            f"{name[:80]!r} is no name of a host",
            f"use at most {_LONGEST_HOSTNAME} letters, digits, '-' and '_', a letter or digit first",
        )
    return name
