"""The id maps of user namespaces (user_namespaces(7)), as the calling process sees its own."""

from __future__ import annotations

_ALL = 2**32 - 1


def extents(name: str = "uid_map") -> list[tuple[int, int, int]]:
    """Of our own ``uid_map`` or ``gid_map``: first id inside, first id in the parent namespace, count."""
    with open(f"/proc/self/{name}", encoding="ascii") as file:
        rows = [[int(part) for part in line.split()] for line in file]
    return [(inside, outside, count) for inside, outside, count in rows]


def is_initial() -> bool:
    """Whether we are in the host's own user namespace, as far as one can tell from inside."""
    return extents() == [(0, 0, _ALL)]


def size() -> int:
    """How many ids from 0 on are ours, users and groups alike."""
    return min(_leading(extents("uid_map")), _leading(extents("gid_map")))


def lines(name: str, start: int, count: int) -> str:
    """What to write to a child's ``name`` so that its 0 … ``count`` − 1 are our ``start`` …

    A line of its own for each extent of our own map: the kernel takes none that spans two.
    """
    text = ""
    for inside, _, length in sorted(extents(name)):
        low, high = max(start, inside), min(start + count, inside + length)
        if low < high:
            text += f"{low - start} {low} {high - low}\n"
    return text


def _leading(rows: list[tuple[int, int, int]]) -> int:
    end = 0
    for inside, _, count in sorted(rows):
        if inside != end:
            break
        end += count
    return end
