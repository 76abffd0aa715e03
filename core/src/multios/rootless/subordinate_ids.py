"""The ids that a user may give away: subuid(5), subgid(5), and newuidmap(1), newgidmap(1), which see to it."""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from pathlib import Path

UID_FILE, GID_FILE = Path("/etc/subuid"), Path("/etc/subgid")
MOST_EXTENTS = 339
"""The kernel takes 340 lines in a map (user_namespaces(7)); one is the user himself."""
_ID_MOST = 2**32 - 2
_FILE_MOST = 4 << 20


@dataclass(frozen=True, slots=True)
class Range:
    """Ids ``start`` … ``start + count`` − 1 of the host."""

    start: int
    count: int


def parse(text: str, owners: frozenset[str]) -> tuple[Range, ...]:
    """The ranges of ``owners`` (a user's name and number) in a file's text; lines that are not sound are passed over."""
    found = []
    for line in text.splitlines():
        owner, first, rest = line.partition(":")
        start, second, count = rest.partition(":")
        if not first or not second or owner not in owners:
            continue
        if all(part.isascii() and part.isdigit() and len(part) <= 10 for part in (start, count)):
            given = Range(int(start), int(count))
            if given.start and given.count and given.start + given.count - 1 <= _ID_MOST:
                found.append(given)
    return tuple(found[:MOST_EXTENTS])


def of_user(uid: int, file: Path) -> tuple[Range, ...]:
    """The ranges of a user; none where the file is not there."""
    owners = {str(uid)}
    try:
        owners.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass
    try:
        with file.open("rb") as stream:
            text = stream.read(_FILE_MOST).decode("utf-8", "replace")
    except OSError:
        return ()
    return parse(text, frozenset(owners))


def map_words(identity: int, ranges: tuple[Range, ...]) -> list[str]:
    """What newuidmap(1) is told: 0 inside is ``identity``, the ranges follow from 1 on."""
    words, inside = ["0", str(identity), "1"], 1
    for given in ranges:
        words += [str(inside), str(given.start), str(given.count)]
        inside += given.count
    return words
