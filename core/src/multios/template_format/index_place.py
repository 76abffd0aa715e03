"""Where an index of templates can be: a folder, or one that a web server has."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from multios.errors import InvalidInput

_REMEDY = "an index is a folder, or like https://school.example.org/templates/"


def is_web(where: str) -> bool:
    """Whether it is an address rather than a path."""
    return "://" in where


def parts_of(where: str) -> SplitResult:
    """The parts of an index's address; ``InvalidInput`` for one that cannot be, or that has a password in it."""
    try:
        parts = urlsplit(where)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        known = None
    if not known or not where.isprintable() or " " in where:
        raise InvalidInput(f"{where[:200]!r} is no address of an index", _REMEDY)
    if "@" in parts.netloc:
        raise InvalidInput(
            f"an index's address has no user and password: https://{parts.hostname}",
            "write them into ~/.netrc",
        )
    if parts.query or parts.fragment:
        raise InvalidInput(f"{where[:200]!r} has more than a path", _REMEDY)
    return parts
