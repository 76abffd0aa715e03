"""A container's chain of security drivers as text: names in their order, joined by commas."""

from __future__ import annotations

import re

from multios.errors import InvalidInput

BUILT_IN = ("capabilities", "seccomp", "apparmor", "landlock")
"""What a container gets of these is what is installed, unless the administrator or the user names a chain."""
NOBODY = "none"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_MOST = 16


def parse(text: str, where: str) -> tuple[str, ...]:
    """The names in ``a,b,c``; ``none`` is the empty chain. ``InvalidInput`` begins with ``where``."""
    if text.strip() == NOBODY:
        return ()
    names = tuple(word.strip() for word in text.split(","))
    for name in names:
        if not _NAME.fullmatch(name) or name == NOBODY:
            raise InvalidInput(
                f"{where}: {name[:80]!r} is not a driver's name",
                f"write names with commas between them, as {','.join(BUILT_IN)}, or {NOBODY!r} alone",
            )
        if names.count(name) > 1:
            raise InvalidInput(f"{where}: {name!r} is there twice", "name each driver once")
    if len(names) > _MOST:
        raise InvalidInput(f"{where}: more than {_MOST} security drivers", "name fewer")
    return names


def write(names: tuple[str, ...]) -> str:
    """The text that :func:`parse` reads back."""
    return ",".join(names) or NOBODY
