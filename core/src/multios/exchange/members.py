"""The members of an archive of images, read from a stream once through.

Such an archive has files, directories and links with plain names; whatever else it has is refused. Written for
untrusted input: what is held does not grow with the archive.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from multios.errors import InvalidInput
from multios.layers.archive import Entry, Source, entries

MOST_MEMBERS = 100_000

_LARGEST = 1 << 62
_LONGEST_NAME = 4095
Kind = Literal["file", "directory", "link", "other"]
_KINDS: dict[bytes, Kind] = {b"0": "file", b"1": "link", b"2": "link", b"5": "directory"}
_SYMBOLIC = b"2"


@dataclass(frozen=True, slots=True)
class Member:
    """``name`` is without needless dots, empty for the top; ``target`` is the name that a link leads to.

    Both may lead out of the archive: :func:`check_inside`.
    """

    name: str
    kind: Kind
    size: int = 0
    target: str = ""


class Members:
    """Iterating gives each member; until the next one, :meth:`read` gives its content.

    ``chunks`` are the archive's plain bytes. Until :meth:`settle`, everything is kept, so that :meth:`whole` can give
    the archive again from its beginning. A damaged archive raises ``InvalidInput``.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._kept: list[bytes] | None = []
        self._source = Source(self._recorded(), _LARGEST, digested=False)
        self._left = 0

    def __iter__(self) -> Iterator[Member]:
        for count, entry in enumerate(entries(self._source)):
            if count == MOST_MEMBERS:
                raise InvalidInput(
                    f"the archive has more than {MOST_MEMBERS} members", "an archive of images has few"
                )
            self._left = entry.size
            yield _member(entry)
            self._source.skip(self._left)

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes of the member's content; none at its end."""
        data = self._source.some(min(size, self._left)) if self._left else b""
        if self._left and not data:
            raise InvalidInput("the archive is cut short", "it was cut off on its way; make it again")
        self._left -= len(data)
        return bytes(data)

    def settle(self) -> None:
        """Keep nothing any more."""
        self._kept = None

    def whole(self) -> Iterator[bytes]:
        """The archive's plain bytes from the beginning."""
        kept, self._kept = self._kept or [], None
        yield from kept
        yield from self._chunks

    @property
    def kept(self) -> int:
        """How many bytes are kept."""
        return sum(map(len, self._kept or ()))

    def _recorded(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            if self._kept is not None:
                self._kept.append(chunk)
            yield chunk


def _member(entry: Entry) -> Member:
    path, link = _text(entry.name), _text(entry.link)
    kind = _KINDS.get(entry.type_flag, "other")
    if kind != "link":
        return Member(_normal(path), kind, entry.size)
    # A symbolic link's target is relative to its directory, a hard link's to the archive's top.
    top = posixpath.dirname(path) if entry.type_flag == _SYMBOLIC else ""
    return Member(_normal(path), kind, 0, _normal(posixpath.join(top, link)))


def check_inside(name: str) -> None:
    """Raise ``InvalidInput`` for a name that leads out of its archive."""
    if name.startswith(("/", "../")) or name == ".." or "\0" in name:
        shown = name[:80].encode("utf-8", "backslashreplace").decode()
        raise InvalidInput(f"the archive leads out of itself: {shown!r}", "do not trust where it came from")


def _normal(path: str) -> str:
    normal = posixpath.normpath(path)
    return "" if normal == "." else normal


def _text(name: bytes) -> str:
    if len(name) > _LONGEST_NAME:
        raise InvalidInput(
            f"the archive has a name of {len(name)} bytes", "an archive of images has short ones"
        )
    return name.decode("utf-8", "surrogateescape")
