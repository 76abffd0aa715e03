"""The members of an archive of images, read from a stream once through (tar(5): ustar, pax and GNU's long names).

Such an archive has files, directories and links with plain names; whatever else it has is refused. Written for
untrusted input: what is held does not grow with the archive.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from multios.errors import InvalidInput

MOST_MEMBERS = 100_000

_BLOCK = 512
_EXTENDED_MOST = 64 << 10
"""Bytes of a pax or GNU header: it has a name here, and nothing large."""
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
Kind = Literal["file", "directory", "link", "other"]
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "link",
}
_REMEDY = "it was cut off or changed on its way; make it again"


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
        self._buffer = b""
        self._place = 0
        self._left = 0
        self._kept: list[bytes] | None = []

    def __iter__(self) -> Iterator[Member]:
        records: dict[str, str] = {}
        for _ in range(2 * MOST_MEMBERS):
            header = self._header()
            if header is None:
                return
            self._left = header.size if header.type in _KINDS or header.type in _EXTENDED else 0
            padding = -self._left % _BLOCK
            if header.type in _EXTENDED:
                records |= self._extension(header)
            else:
                yield self._member(header, records)
                records = {}
            self._skip(self._left + padding)
        raise InvalidInput(
            f"the archive has more than {MOST_MEMBERS} members", "an archive of images has few"
        )

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes of the member's content; none at its end."""
        data = self._some(min(size, self._left))
        if self._left and not data:
            raise _cut()
        self._left -= len(data)
        return data

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

    def _header(self) -> tarfile.TarInfo | None:
        """The next header; ``None`` at the end of the archive, which some writers do not mark."""
        data = self._exactly(_BLOCK, may_end=True)
        if not data or data == bytes(_BLOCK):
            return None
        try:
            header = tarfile.TarInfo.frombuf(data, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise InvalidInput(f"this is no tar archive, or a damaged one: {error}", _REMEDY) from None
        if header.size < 0:
            raise InvalidInput("the archive has a member of negative size", _REMEDY)
        return header

    def _extension(self, header: tarfile.TarInfo) -> dict[str, str]:
        if header.size > _EXTENDED_MOST:
            raise InvalidInput(f"the archive has an extended header of {header.size} bytes", _REMEDY)
        body, self._left = self._exactly(header.size), 0
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": _text(body.rstrip(b"\0"))}
        if header.type == tarfile.GNUTYPE_LONGLINK:
            return {"linkpath": _text(body.rstrip(b"\0"))}
        return {} if header.type == tarfile.XGLTYPE else _records(body)

    def _member(self, header: tarfile.TarInfo, records: dict[str, str]) -> Member:
        if "size" in records and records["size"].isdecimal() and len(records["size"]) < 20:
            self._left = int(records["size"])
        path = records.get("path", header.name)
        kind: Kind = _KINDS.get(header.type, "other")
        if kind == "file" and path.endswith("/"):
            kind = "directory"  # tars from before ustar
        if kind != "link":
            return Member(_normal(path), kind, self._left)
        # A symbolic link's target is relative to its directory, a hard link's to the archive's top.
        top = posixpath.dirname(path) if header.type == tarfile.SYMTYPE else ""
        target = posixpath.join(top, records.get("linkpath", header.linkname))
        return Member(_normal(path), kind, 0, _normal(target))

    def _some(self, most: int) -> bytes:
        while self._place == len(self._buffer):
            data = next(self._chunks, None)
            if data is None:
                return b""
            if self._kept is not None:
                self._kept.append(data)
            self._buffer, self._place = data, 0
        data = self._buffer[self._place : self._place + most]
        self._place += len(data)
        return data

    def _exactly(self, count: int, may_end: bool = False) -> bytes:
        parts: list[bytes] = []
        left = count
        while left:
            part = self._some(left)
            if not part:
                if may_end and left == count:
                    return b""
                raise _cut()
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _skip(self, count: int) -> None:
        while count:
            part = self._some(count)
            if not part:
                raise _cut()
            count -= len(part)
        self._left = 0


def check_inside(name: str) -> None:
    """Raise ``InvalidInput`` for a name that leads out of its archive."""
    if name.startswith(("/", "../")) or name == ".." or "\0" in name:
        shown = name[:80].encode("utf-8", "backslashreplace").decode()
        raise InvalidInput(f"the archive leads out of itself: {shown!r}", "do not trust where it came from")


def _normal(path: str) -> str:
    normal = posixpath.normpath(path)
    return "" if normal == "." else normal


def _records(body: bytes) -> dict[str, str]:
    """The pax records that matter here (pax(1), "pax Header Block"); others may hold anything."""
    found: dict[str, str] = {}
    while body:
        length, _, rest = body.partition(b" ")
        count = int(length) if length.isdigit() and len(length) < 8 else 0
        record = rest[: count - len(length) - 1]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if count > len(body) or not equals or not record.endswith(b"\n"):
            raise InvalidInput("the archive has a damaged pax header", _REMEDY)
        if key in (b"path", b"linkpath", b"size"):
            found[key.decode()] = _text(value)
        body = body[count:]
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _cut() -> InvalidInput:
    return InvalidInput("the archive is cut short", _REMEDY)
