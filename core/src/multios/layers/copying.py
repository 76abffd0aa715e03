"""Copying directory trees of root filesystems with all that belongs to them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Mapping

from multios.errors import InvalidInput
from multios.layers.pack import walk, xattrs

_FICLONE = 0x40049409
"""ioctl_ficlone(2)."""
_CHUNK = 1 << 26
_NOT_HERE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)


def copy_tree(source: bytes, target: bytes, marks: bool = False, most: int | None = None) -> None:
    """Copy everything below ``source`` into the existing directory ``target``.

    Owners, modes, times, extended attributes, hard links, holes, devices, fifos and sockets are kept; blocks
    are shared where the filesystem can. ``source`` must not change meanwhile. With ``marks``, ``source`` is the
    upper directory of an overlay: overlay's own attributes, and those of ``source`` itself, are kept too.
    More than ``most`` entries raise ``InvalidInput``.
    """
    read = _all_xattrs if marks else xattrs
    links: dict[tuple[int, int], bytes] = {}
    directories = [(target, os.stat(source))]
    clone = True
    for count, (path, name, status) in enumerate(walk(source)):
        if most is not None and count >= most:
            raise InvalidInput(f"there are more than {most} files")
        place = target + b"/" + name
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            first = links.setdefault((status.st_dev, status.st_ino), place)
            if first != place:
                os.link(first, place, follow_symlinks=False)
                continue
        if kind == stat.S_IFDIR:
            os.mkdir(place, 0o700)
            directories.append((place, status))
        elif kind == stat.S_IFREG:
            clone = _copy_file(path, place, status.st_size, clone)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(path), place)
        else:
            os.mknod(place, kind | 0o600, status.st_rdev)
        _copy_looks(path, place, status, read(path))
    if marks:
        _copy_looks(source, target, os.stat(source), read(source))
    for place, status in reversed(directories):  # last, because content changes a directory's time
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy_looks(source: bytes, target: bytes, status: os.stat_result) -> None:
    """Give the directory ``target`` the owner, mode and times of ``status`` and the extended attributes of ``source``."""
    _copy_looks(source, target, status, xattrs(source))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _all_xattrs(path: bytes) -> dict[bytes, bytes]:
    names = [os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False)]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _copy_looks(path: bytes, place: bytes, status: os.stat_result, attributes: Mapping[bytes, bytes]) -> None:
    os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(place, stat.S_IMODE(status.st_mode))  # after chown, which takes setuid away
    for name, value in attributes.items():
        os.setxattr(place, name, value, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _copy_file(path: bytes, place: bytes, size: int, clone: bool) -> bool:
    """Copy the content; whether sharing blocks is still worth trying."""
    reader = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if clone and size:
                try:
                    fcntl.ioctl(writer, _FICLONE, reader)
                    return True
                except OSError as error:
                    if error.errno not in _NOT_HERE:
                        raise
                    clone = False
            _copy_extents(reader, writer, size)
        except OSError as error:
            error.filename = error.filename or place  # calls on descriptors name no file
            raise
        finally:
            os.close(writer)
    finally:
        os.close(reader)
    return clone


def _copy_extents(reader: int, writer: int, size: int) -> None:
    """The parts that hold data; holes stay holes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(reader, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: only a hole is left
                raise
            break
        position = os.lseek(reader, start, os.SEEK_HOLE)
        _copy_range(reader, writer, start, position)
    os.ftruncate(writer, size)


def _copy_range(reader: int, writer: int, start: int, end: int) -> None:
    while start < end:
        try:
            count = os.copy_file_range(reader, writer, min(_CHUNK, end - start), start, start)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            count = os.pwrite(writer, os.pread(reader, min(1 << 20, end - start), start), start)
        if count == 0:
            raise OSError(errno.EIO, "a file became shorter while it was copied")
        start += count
