"""Names of containers, networks and volumes."""

from __future__ import annotations

import re
import secrets

from multios.errors import InvalidInput

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")


def check_name(kind: str, name: str) -> str:
    """``name`` if it may name a container, network or volume; else ``InvalidInput``."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{kind} name {name!r} is not allowed",
            "use letters, digits, '_', '.' and '-', starting with a letter or digit, at most 128",
        )
    return name


def invent_name() -> str:
    """A name such as ``calm-otter-3f2a``."""
    mood = secrets.choice(
        "brave calm clever eager gentle happy keen kind lively lucky neat proud quick quiet sunny wise".split()  # noqa: SIM905
    )
    animal = secrets.choice(
        "badger crane dolphin falcon finch fox heron ibis koala lynx marten newt otter panda robin seal".split()  # noqa: SIM905
    )
    return f"{mood}-{animal}-{secrets.token_hex(2)}"
