"""An archive of images read into the content store: every file becomes a blob before its part in an image is known.

What tells that, a manifest or an index, may come last, and a pipe cannot be read twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from multios.errors import InvalidInput
from multios.exchange.members import Member, Members, check_inside
from multios.model.image import Descriptor
from multios.store.content import ContentStore

DOCUMENTS = ("oci-layout", "index.json", "manifest.json", "repositories", "version")
LARGEST_DOCUMENT = 8 << 20
LARGEST_ARCHIVE = 256 << 30
"""Bytes of all files of an archive; more is taken for a bomb."""

_HEX = "[0-9a-f]{64}"
_OF_IMAGE = re.compile(
    rf"oci-layout|index\.json|manifest\.json|repositories|version|blobs/[a-z0-9+._-]+/[0-9a-f]+"
    rf"|(?:sha256:)?{_HEX}(?:\.json|\.tar|\.tar\.gz|/layer\.tar|/VERSION|/json)?"
)
_UNTOLD = re.compile(rf"|blobs|blobs/[a-z0-9+._-]+|ingest|{_HEX}")
"""Directories that either kind of archive may begin with."""
_OLD = re.compile(rf"{_HEX}/(?:VERSION|json)")
"""What docker before 1.10 read of each layer."""
_BLOB = re.compile(rf"blobs/sha256/({_HEX})")
_UNDECIDED_MOST = 8 << 20
_HEAD = 6


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file of the archive as a blob, and its first bytes."""

    blob: Descriptor
    head: bytes


@dataclass(slots=True)
class Archive:
    """What an archive of images has in it, by name."""

    documents: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, Spooled] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def file(self, name: str) -> Spooled:
        """The file of this name, through links; ``InvalidInput`` when the archive has none."""
        wanted = name
        for _ in range(8):
            if name in self.files:
                return self.files[name]
            if name not in self.links:
                break
            name = self.links[name]
        raise InvalidInput(f"the archive has no {wanted[:80]!r}", "it is incomplete; make it again")


class _Content:
    """A member's content as a stream that remembers how it began and tells how far it is."""

    def __init__(self, members: Members, told: Callable[[int], None]) -> None:
        self._members, self._told = members, told
        self.head = b""

    def read(self, size: int) -> bytes:
        data = self._members.read(size)
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        self._told(len(data))
        return data


def is_of_images(members: Members) -> tuple[bool, Iterable[Member]]:
    """Whether the archive has images in it, or a bare root filesystem; and all its members, from the first."""
    iterator = iter(members)
    first: list[Member] = []
    for member in iterator:
        first.append(member)
        if member.kind == "directory" and _UNTOLD.fullmatch(member.name) and members.kept < _UNDECIDED_MOST:
            continue
        if member.kind in ("file", "link") and _OF_IMAGE.fullmatch(member.name):
            members.settle()
            return True, _chained(member, iterator)
        return False, ()
    return False, ()


def _chained(first: Member, rest: Iterable[Member]) -> Iterable[Member]:
    yield first
    yield from rest


def spool(
    members: Members, listed: Iterable[Member], content: ContentStore, told: Callable[[int], None]
) -> Archive:
    """Store every file; call it while the content is held. ``told`` gets the number of bytes read each time.

    A blob of an OCI layout is verified while it streams: its name says its digest.
    """
    archive = Archive()
    size = 0
    for member in listed:
        check_inside(member.name)
        size += member.size
        if size > LARGEST_ARCHIVE:
            raise InvalidInput(f"the archive has more than {LARGEST_ARCHIVE >> 30} GiB of files")
        if member.kind == "link":
            check_inside(member.target)
            archive.links[member.name] = member.target
        elif member.kind == "other":
            raise InvalidInput(
                f"the archive has a special file: {member.name[:80]!r}", "an archive of images has none"
            )
        elif member.kind == "file" and member.name in DOCUMENTS:
            archive.documents[member.name] = _document(members, member)
        elif member.kind == "file" and not _OLD.fullmatch(member.name):
            archive.files[member.name] = _stored(members, member, content, told)
    return archive


def _document(members: Members, member: Member) -> bytes:
    if member.size > LARGEST_DOCUMENT:
        raise InvalidInput(f"the archive's {member.name} has {member.size} bytes", "it can have 8 MiB")
    parts = []
    while data := members.read(1 << 20):
        parts.append(data)
    return b"".join(parts)


def _stored(members: Members, member: Member, content: ContentStore, told: Callable[[int], None]) -> Spooled:
    match = _BLOB.fullmatch(member.name)
    stream = _Content(members, told)
    blob = content.put("", cast(BinaryIO, stream), f"sha256:{match[1]}" if match else "")
    return Spooled(blob, stream.head)
