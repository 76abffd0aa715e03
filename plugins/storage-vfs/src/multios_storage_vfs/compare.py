"""What changed between a copy and its original, as an OCI layer."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from multios.layers.pack import LayerWriter, xattrs

_CHUNK = 1 << 20


def pack_changes(below: str, own: str, copied: int, target: BinaryIO, latest: float | None = None) -> None:
    """Write what ``own`` changed against ``below`` (empty: nothing was there).

    ``copied`` is when the copy was complete, by the filesystem's clock in nanoseconds: files whose inode
    changed since are compared by content too, so that setting back a time hides nothing.
    """
    writer = LayerWriter(target, latest)
    _Comparison(os.fsencode(own), os.fsencode(below), copied, writer).run()


class _Comparison:
    """A walk over both trees. A directory of which something changed is part of the layer, before its content."""

    def __init__(self, own: bytes, below: bytes, copied: int, writer: LayerWriter) -> None:
        self.own, self.below, self.copied, self.writer = own, below, copied, writer
        self.written = {b""}

    def run(self) -> None:
        had = bool(self.below)
        if not had or _looks(self.own) != _looks(self.below):
            self.writer.add(self.own, b"")
        waiting = [(b"", had)]
        while waiting:
            name, had = waiting.pop()
            path, old = self.own + b"/" + name, self.below + b"/" + name
            if name and (not had or _changed(old, path, self.copied)):
                self._write(name)
            if not _is_directory(path):
                continue
            prefix = name + b"/" if name else b""
            before = set(os.listdir(old)) if had and _is_directory(old) else set()
            now = sorted(os.listdir(path))
            for gone in sorted(before - set(now)):
                self._write_parents(prefix + gone)
                self.writer.whiteout(prefix + gone)
            waiting += [(prefix + entry, entry in before) for entry in reversed(now)]
        self.writer.close()

    def _write(self, name: bytes) -> None:
        self._write_parents(name)
        if name not in self.written:
            self.written.add(name)
            self.writer.add(self.own + b"/" + name, name)

    def _write_parents(self, name: bytes) -> None:
        parent = name.rpartition(b"/")[0]
        if parent not in self.written:
            self._write(parent)


def _changed(old: bytes, new: bytes, copied: int) -> bool:
    before, now = os.lstat(old), os.lstat(new)
    if _traits(before) != _traits(now):
        return True
    if stat.S_ISLNK(now.st_mode) and os.readlink(old) != os.readlink(new):
        return True
    if now.st_ctime_ns < copied:
        return False
    if xattrs(old) != xattrs(new):
        return True
    return stat.S_ISREG(now.st_mode) and not _same_content(old, new)


def _traits(status: os.stat_result) -> tuple[int, ...]:
    """What tells a change. A directory's size and links are the filesystem's business; its time is kept."""
    common = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns)
    if stat.S_ISDIR(status.st_mode):
        return common
    # The number of links too: a new name of an old file must find it in the layer.
    return (*common, status.st_size, status.st_nlink)


def _same_content(one: bytes, other: bytes) -> bool:
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        while True:
            data = first.read(_CHUNK)
            if data != second.read(_CHUNK):
                return False
            if not data:
                return True


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _looks(path: bytes) -> tuple[int, int, int, dict[bytes, bytes]]:
    status = os.stat(path)
    return status.st_mode, status.st_uid, status.st_gid, xattrs(path)
