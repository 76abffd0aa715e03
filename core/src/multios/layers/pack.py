"""Writing OCI layer tars (image-spec, layer.md): POSIX pax archives, in a fixed order.

Everything is bytes: names on Linux are, and need not be UTF-8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from multios.errors import StepFailed

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_BLOCK = 512
_CHUNK = 1 << 20
_OCTAL_8, _OCTAL_12 = 8**7 - 1, 8**11 - 1
_OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")
_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


class _Looks(NamedTuple):
    mode: int
    owner: int
    group: int
    mtime: int
    """In nanoseconds."""
    device: int


class LayerWriter:
    """Writes one layer; names are relative, without a leading ``/`` or ``./``; the empty one is the root.

    Call :meth:`close` at the end. Hard links are found by inode among the files that were added. No time of a file is
    later than ``latest``, in seconds since the epoch.
    """

    def __init__(self, target: BinaryIO, latest: float | None = None) -> None:
        self._target = target
        self._latest = None if latest is None else round(latest * 10**9)
        self._seen: dict[tuple[int, int], bytes] = {}

    def add(self, path: bytes, name: bytes, status: os.stat_result | None = None) -> None:
        """Add the file at ``path`` under ``name``; a directory without its content.

        Left out is what a layer cannot say: sockets, and names that begin with ``.wh.``.
        """
        status = status or os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        if kind not in _TYPES or b"/" + WHITEOUT in b"/" + name:
            return
        link = b""
        type_flag = _TYPES[kind]
        if kind == stat.S_IFLNK:
            link = os.readlink(path)
        elif kind != stat.S_IFDIR and status.st_nlink > 1:
            first = self._seen.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                type_flag, link = b"1", first
        size = status.st_size if type_flag == b"0" else 0
        records = {} if type_flag == b"1" else _xattr_records(path)
        shown = (name.rstrip(b"/") or b".") + b"/" if kind == stat.S_IFDIR else name
        mtime = status.st_mtime_ns if self._latest is None else min(status.st_mtime_ns, self._latest)
        looks = _Looks(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, mtime, status.st_rdev)
        self._header(shown, type_flag, looks, size, link, records)
        if type_flag == b"0":
            self._content(path, size)

    def whiteout(self, name: bytes) -> None:
        """Say that ``name`` of the layers below is gone."""
        directory, _, base = name.rpartition(b"/")
        self._marker((directory + b"/" if directory else b"") + WHITEOUT + base)

    def opaque(self, name: bytes) -> None:
        """Say that what the layers below have in directory ``name`` is gone."""
        self._marker((name + b"/" if name else b"") + OPAQUE)

    def close(self) -> None:
        """Write the end of the archive; the target stays open."""
        self._target.write(bytes(2 * _BLOCK))

    def _marker(self, name: bytes) -> None:
        self._header(name, b"0", _Looks(0o600, 0, 0, 0, 0), 0, b"", {})

    def _header(
        self,
        name: bytes,
        type_flag: bytes,
        looks: _Looks,
        size: int,
        link: bytes,
        records: dict[bytes, bytes],
    ) -> None:
        seconds, nanoseconds = divmod(looks.mtime, 10**9)
        if nanoseconds or not 0 <= seconds <= _OCTAL_12:
            records[b"mtime"] = _decimal(looks.mtime)
        prefix, short = _split_name(name)
        if short != name and not prefix:
            records[b"path"] = name
        if len(link) > 100:
            records[b"linkpath"] = link
        for key, number, most in ((b"uid", looks.owner, _OCTAL_8), (b"gid", looks.group, _OCTAL_8)):
            if number > most:
                records[key] = b"%d" % number
        if size > _OCTAL_12:
            records[b"size"] = b"%d" % size
        if records:
            body = b"".join(_record(key, records[key]) for key in sorted(records))
            self._target.write(_block(b"PaxHeader", b"x", 0o644, 0, 0, len(body), 0, b"", b"", (0, 0)))
            self._target.write(body + bytes(-len(body) % _BLOCK))
        device = (0, 0)
        if type_flag in b"34":
            device = (os.major(looks.device), os.minor(looks.device))
        whole = seconds if 0 <= seconds <= _OCTAL_12 else 0
        mode, owner, group = looks.mode, looks.owner, looks.group
        self._target.write(_block(short, type_flag, mode, owner, group, size, whole, link, prefix, device))

    def _content(self, path: bytes, size: int) -> None:
        left = size
        with open(path, "rb", buffering=0, opener=_open_quietly) as source:
            while left and (data := source.read(min(_CHUNK, left))):
                self._target.write(data)
                left -= len(data)
        if left:  # a running container may shorten it meanwhile; the header is written
            raise StepFailed(
                "pack layer", f"{os.fsdecode(path)} became shorter while it was read", "try again"
            )
        self._target.write(bytes(-size % _BLOCK))


def pack_directory(directory: str | os.PathLike[str], target: BinaryIO) -> None:
    """The whole of ``directory`` as one layer, its root included; the order is that of the names."""
    writer = LayerWriter(target)
    base = os.fsencode(directory)
    writer.add(base + b"/.", b"")
    for path, name, status in walk(base):
        writer.add(path, name, status)
    writer.close()


def walk(base: bytes) -> Iterator[tuple[bytes, bytes, os.stat_result]]:
    """Path, relative name and lstat of everything below ``base``: parents first, names in order.

    What vanishes meanwhile is left out. No recursion: a container may make trees of any depth.
    """
    waiting = [b""]
    while waiting:
        name = waiting.pop()
        path = base + b"/" + name if name else base
        if name:
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            yield path, name, status
            if not stat.S_ISDIR(status.st_mode):
                continue
        prefix = name + b"/" if name else b""
        waiting += [prefix + entry for entry in sorted(_names(path), reverse=True)]


def xattrs(path: bytes) -> dict[bytes, bytes]:
    """The extended attributes of ``path`` itself but the overlay filesystem's own."""
    found: dict[bytes, bytes] = {}
    try:
        names: Iterable[str] = os.listxattr(path, follow_symlinks=False)
    except OSError:  # a filesystem without them
        return found
    for name in names:
        raw = os.fsencode(name)
        if not raw.startswith(_OVERLAY_XATTRS):
            try:
                found[raw] = os.getxattr(path, raw, follow_symlinks=False)
            except OSError:  # gone meanwhile, or a system one that cannot be read
                continue
    return found


def _names(path: bytes) -> list[bytes]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _open_quietly(path: str, options: int) -> int:
    return os.open(path, options | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)


def _xattr_records(path: bytes) -> dict[bytes, bytes]:
    return {b"SCHILY.xattr." + name: value for name, value in xattrs(path).items()}


def _record(key: bytes, value: bytes) -> bytes:
    """A pax record: its length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _decimal(nanoseconds: int) -> bytes:
    sign = "-" if nanoseconds < 0 else ""
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    return f"{sign}{seconds}.{rest:09d}".encode()


def _split_name(name: bytes) -> tuple[bytes, bytes]:
    """ustar's prefix and name; where they do not fit, no prefix and a shortened name."""
    if len(name) <= 100:
        return b"", name
    cut = name.rfind(b"/", 0, 156)
    if cut > 0 and len(name) - cut - 1 <= 100 and name[cut + 1 :]:
        return name[:cut], name[cut + 1 :]
    return b"", name[:100]


def _block(
    name: bytes,
    type_flag: bytes,
    mode: int,
    owner: int,
    group: int,
    size: int,
    mtime: int,
    link: bytes,
    prefix: bytes,
    device: tuple[int, int],
) -> bytes:
    """A ustar header block; numbers that do not fit stand in pax records and are zero here."""
    owner, group = (number if number <= _OCTAL_8 else 0 for number in (owner, group))
    size = size if size <= _OCTAL_12 else 0
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, owner, group, size, mtime)
    head = name.ljust(100, b"\0") + numbers
    tail = type_flag + link[:100].ljust(100, b"\0") + b"ustar\x0000" + bytes(64)
    tail += b"%07o\0%07o\0" % device + prefix.ljust(155, b"\0") + bytes(12)
    checksum = sum(head) + 8 * 32 + sum(tail)
    return head + b"%06o\0 " % checksum + tail
