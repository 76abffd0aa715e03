"""The work in a submission, as it may be put into a machine: files, directories and links that stay inside, and no more.

Whoever made the archive may have written anything into it. Names that lead out, devices, setuid bits and other owners, links to
elsewhere and what would be written through a link are left out; what was is counted.
"""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from multios.errors import InvalidInput
from multios.layers.archive import Entry, Source, entries

MOST_ENTRIES = 20_000
MOST_BYTES = 512 << 20
_LONGEST = 4096
"""Bytes of a name, and of what a link leads to (path_resolution(7)): headers could say more, and for all entries at once."""
GRADED = 1000
"""The user inside whose the work is, and with whose rights a student's programs run."""


@dataclass(slots=True)
class Work:
    """What was taken over, and the names that were not."""

    entries: int = 0
    left_out: list[str] = field(default_factory=list)


def write(layer: IO[bytes], target: IO[bytes], roots: Sequence[str]) -> Work:
    """Write what of ``layer`` lies below ``roots`` to ``target``, a tar for the root of a machine."""
    with _made(target, roots) as taking:
        taking.copy(layer, lambda name: name)
    return taking.work


def merge(trees: Mapping[str, IO[bytes]], target: IO[bytes]) -> Work:
    """The same of trees, each a tar of one directory, below the path that it stands for. The bounds are of all together."""
    with _made(target, tuple(trees)) as taking:
        for root, tree in trees.items():
            taking.copy(tree, lambda name, root=root: _placed(name, root))  # type: ignore[misc]
    return taking.work


def _placed(name: str, root: str) -> str:
    """The name with ``root`` instead of its first part, by which the tar calls the directory."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return name if ".." in parts else "/".join([root.strip("/"), *parts[1:]])


@contextmanager
def _made(target: IO[bytes], roots: Sequence[str]) -> Iterator[_Taking]:
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as made:
        for directory in _ways(roots):
            made.addfile(_entry(directory, tarfile.DIRTYPE, 0o711, 0))
        for root in roots:
            made.addfile(_entry(root.strip("/"), tarfile.DIRTYPE, 0o755, GRADED))
        taking = _Taking(made, roots)
        yield taking
        # Last, so that nothing is written through one.
        for name, goal in taking.links.items():
            entry = _entry(name, tarfile.SYMTYPE, 0o777, GRADED)
            entry.linkname = goal
            made.addfile(entry)


class _Taking:
    """What is taken over into ``made``, of one archive after the other."""

    def __init__(self, made: tarfile.TarFile, roots: Sequence[str]) -> None:
        self._made, self._roots = made, roots
        self.links: dict[str, str] = {}
        self.work = Work()
        self._plain: set[str] = set()
        self._size = 0

    def copy(self, archive: IO[bytes], placed: Callable[[str], str]) -> None:
        """Take over what is in one; ``placed`` says where a name of it belongs."""
        source = Source(_chunks(archive), MOST_BYTES * 2, digested=False)
        for entry in entries(source):
            self.work.entries += 1
            if self.work.entries > MOST_ENTRIES:
                raise InvalidInput(
                    f"the work has more than {MOST_ENTRIES} entries", "let the student hand in less"
                )
            content = _Content(source, entry.size)
            if max(len(entry.name), len(entry.link)) > _LONGEST:
                _leave_out(self.work, os.fsdecode(entry.name[:_LONGEST]))
            else:
                self._take(entry, placed(os.fsdecode(entry.name)), content)
            source.skip(content.left)

    def _take(self, entry: Entry, written: str, content: _Content) -> None:
        name, goal = _inside(written, self._roots), os.fsdecode(entry.link)
        if name is None or name in self._plain or _is_below_link(name, self.links):
            if entry.type_flag != b"5" or not _is_way(written, self._roots):
                _leave_out(self.work, written)
        elif entry.type_flag == b"5":
            self._plain.add(name)
            self._made.addfile(_entry(name, tarfile.DIRTYPE, entry.mode & 0o755 | 0o700, GRADED))
        elif entry.type_flag == b"2" and _stays(name, goal, self._roots):
            self.links[name] = goal
        elif entry.type_flag == b"0" and name not in self.links:
            self._size += entry.size
            if self._size > MOST_BYTES:
                raise InvalidInput(
                    f"the work is more than {MOST_BYTES >> 20} MB", "let the student hand in less"
                )
            self._plain.add(name)
            file = _entry(name, tarfile.REGTYPE, entry.mode & 0o755 | 0o600, GRADED)
            file.size = entry.size
            self._made.addfile(file, content)
        else:
            _leave_out(self.work, written)


class _Content(io.RawIOBase):
    """The content of one entry, to be read once."""

    def __init__(self, source: Source, size: int) -> None:
        super().__init__()
        self._source = source
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._source.some(min(len(buffer), self.left)) if self.left else memoryview(b"")
        buffer[: len(part)] = part
        self.left -= len(part)
        return len(part)

    def read(self, size: int = -1) -> bytes:
        """As many bytes as were asked for, unless the archive ends."""
        wanted = self.left if size < 0 else min(size, self.left)
        self.left -= wanted
        return self._source.exactly(wanted) if wanted else b""


def _chunks(layer: IO[bytes]) -> Iterator[bytes]:
    while chunk := layer.read(1 << 20):
        yield chunk


def _leave_out(work: Work, name: str) -> None:
    if len(work.left_out) < 100:
        work.left_out.append("".join(letter if letter.isprintable() else "?" for letter in name[:200]))


def _inside(name: str, roots: Sequence[str]) -> str | None:
    """The plain name of what lies below one of the roots; whiteouts (image-spec, layer.md) are no files."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    plain = "/".join(parts)
    if ".." in parts or not parts or any(part.startswith(".wh.") for part in parts) or "\0" in name:
        return None
    return plain if any(plain.startswith(root.strip("/") + "/") for root in roots) else None


def _is_way(name: str, roots: Sequence[str]) -> bool:
    plain = name.strip("/").removeprefix("./")
    return plain in ("", ".") or any(f"{root.strip('/')}/".startswith(f"{plain}/") for root in roots)


def _is_below_link(name: str, links: dict[str, str]) -> bool:
    parts = name.split("/")
    return any("/".join(parts[:count]) in links for count in range(1, len(parts)))


def _stays(name: str, goal: str, roots: Sequence[str]) -> bool:
    """Whether a link leads to something below the roots: relative, and back only at its beginning."""
    parts = goal.split("/")
    climbing = True
    for part in parts:
        if part == ".." and not climbing:
            return False
        climbing = climbing and part in ("..", ".", "")
    place = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), goal))
    return (
        not goal.startswith("/")
        and "\0" not in goal
        and any(place == root or place.startswith(f"{root}/") for root in roots)
    )


def _ways(roots: Sequence[str]) -> list[str]:
    """The directories above the roots, the highest first: a student's programs must get through them."""
    found: dict[str, None] = {}
    for root in roots:
        parts = root.strip("/").split("/")
        for count in range(1, len(parts)):
            found["/".join(parts[:count])] = None
    return list(found)


def _entry(name: str, kind: bytes, mode: int, owner: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = kind, mode, owner, owner
    return entry
