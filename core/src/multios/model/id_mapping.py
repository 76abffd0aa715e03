"""Which ids a container's user namespace has, as people write it: ``--userns``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from multios.errors import InvalidInput
from multios.model.mount import IdMap

LARGEST = 65536
"""What one container takes of the engine's own ranges."""
SMALLEST = 1024
"""Fewer ids, and an image's own system users and the group of terminals (5) had none."""
_EXPECTED = "use auto, auto:size=COUNT, host, or map=0:HOST:COUNT"


@dataclass(frozen=True, slots=True)
class UserNamespace:
    """``kind`` is ``auto`` (``size`` ids of the engine's choice), ``host`` (none of its own) or ``map`` (``id_map``)."""

    kind: str = "auto"
    size: int = LARGEST
    id_map: IdMap | None = None


def parse(text: str, where: str = "security.user_namespace") -> UserNamespace:
    """What ``text`` asks for; ``InvalidInput`` begins with ``where``."""
    if text in ("auto", "host"):
        return UserNamespace(text)
    if found := re.fullmatch(r"auto:size=(\d{1,10})", text):
        return UserNamespace("auto", _size(int(found[1]), LARGEST, where))
    if found := re.fullmatch(r"map=(\d{1,10}):(\d{1,10}):(\d{1,10})", text):
        inside, host, count = (int(number) for number in found.groups())
        if inside != 0:
            raise InvalidInput(f"{where}: {text!r} gives the container no root", "begin with id 0 inside")
        if host == 0:
            raise InvalidInput(
                f"{where}: {text!r} makes the container's root the host's", "use host if that is meant"
            )
        size = _size(count, 2**32 - 2, where)
        if host + size > 2**32 - 1:
            raise InvalidInput(f"{where}: {text!r} ends beyond the largest id", "ids end at 4294967294")
        return UserNamespace("map", size, IdMap(host, size))
    raise InvalidInput(f"{where}: {text[:80]!r} is no user namespace", _EXPECTED)


def overlap(one: IdMap, other: IdMap) -> bool:
    """Whether a host id is in both."""
    return one.start < other.start + other.size and other.start < one.start + one.size


def _size(count: int, most: int, where: str) -> int:
    if not SMALLEST <= count <= most:
        raise InvalidInput(f"{where}: {count} ids", f"a container has {SMALLEST} to {most}")
    return count
