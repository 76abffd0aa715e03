"""Project quotas of ext4 and xfs: a directory, all below it, and how much that may be (quotactl(2), ioctl_xfs_fsgetxattr(2)).

A directory's files are counted by their project's id, which new files inherit. Only the host's root can give a file
another id: inside a user namespace it cannot be changed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from multios.errors import StepFailed
from multios.supervisor.syscalls import Syscalls, kernel

# linux/fs.h
_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_FSSETXATTR = 0x401C5820
_FSXATTR = struct.Struct("=IIIII8x")
"""struct fsxattr: flags, extent size, extents, project id, extent size for copies."""
_PROJINHERIT = 0x200

# linux/quota.h
_PRJQUOTA = 2
_Q_GETQUOTA = 0x800007
_Q_SETQUOTA = 0x800008
_SUBCOMMAND_SHIFT = 8
_DQBLK = struct.Struct("=8QI4x")
"""struct if_dqblk: block limits in KiB (hard, soft), bytes, inode limits (hard, soft), inodes, two times, what is valid."""
_QIF_LIMITS = 1 | 4
_FIRST = 0x4D55_0000
"""Ids from here on are ours: high enough to meet nobody's in /etc/projects."""
_ROOM, _ROOM_INODES = 256 << 10, 16
"""What an overlay may need in its work directory when it is mounted: bytes and files."""


@dataclass(frozen=True, slots=True)
class Count:
    """Limits (0: none) and use of a project."""

    limit: int
    inode_limit: int
    size: int
    inodes: int


def why_none(directory: str, syscalls: Syscalls = kernel) -> str:
    """Why there are no project quotas where ``directory`` is; empty where there are."""
    kind, words = _filesystem(directory)
    if "prjquota" not in words:
        return f"the {kind} below {directory} is not mounted with prjquota"
    try:
        read(directory, 0, syscalls)
    except OSError as error:
        return f"quotactl on the {kind} below {directory}: {error.strerror}"
    return ""


def free_project(directory: str, taken: Collection[int], syscalls: Syscalls = kernel) -> int:
    """A project id that none of ``taken`` is and that counts and limits nothing so far."""
    number = _FIRST
    while True:
        if number not in taken:
            now = read(directory, number, syscalls)
            if now == Count(0, 0, 0, 0):
                return number
        number += 1


def assign(directory: str, project: int) -> None:
    """Count the empty ``directory``, and all that will be made in it, for ``project``."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        now = list(_FSXATTR.unpack(fcntl.ioctl(descriptor, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))))
        now[0] |= _PROJINHERIT
        now[3] = project
        fcntl.ioctl(descriptor, _FS_IOC_FSSETXATTR, _FSXATTR.pack(*now))
    except OSError as error:
        raise StepFailed("assign project", f"{error.strerror} ({directory})") from error
    finally:
        os.close(descriptor)


def project_of(directory: str) -> int:
    """The project that the directory is counted for."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(descriptor, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    finally:
        os.close(descriptor)
    return int(_FSXATTR.unpack(answer)[3])


@contextlib.contextmanager
def room(directory: str, syscalls: Syscalls = kernel) -> Iterator[None]:
    """Room for a few files more while the block runs, where ``directory`` is of a project of ours that is full.

    As :func:`multios.filesystems.sized.room`. On ext4 the host's root may pass a quota anyway, on xfs it may not.
    """
    project = _ours(directory)
    now = read(directory, project, syscalls) if project else None
    if now is None or (now.limit - now.size >= _ROOM and now.inode_limit - now.inodes >= _ROOM_INODES):
        yield
        return
    bound(
        directory,
        project,
        max(now.limit, now.size) + _ROOM,
        max(now.inode_limit, now.inodes) + _ROOM_INODES,
        syscalls,
    )
    try:
        yield
    finally:
        bound(directory, project, now.limit, now.inode_limit, syscalls)


def _ours(directory: str) -> int:
    """The directory's project if it is one that limits a snapshot, else 0."""
    try:
        project = project_of(directory)
    except OSError:  # a filesystem without projects
        return 0
    return project if project >= _FIRST else 0


def bound(directory: str, project: int, size: int, inodes: int, syscalls: Syscalls = kernel) -> None:
    """Let the project have ``size`` bytes and ``inodes`` files on the filesystem of ``directory``; 0 is: no limit."""
    record = _DQBLK.pack((size + 1023) // 1024, 0, 0, inodes, 0, 0, 0, 0, _QIF_LIMITS)
    try:
        _quotactl(directory, _Q_SETQUOTA, project, bytearray(record), syscalls)
    except OSError as error:
        raise StepFailed("set project quota", f"{error.strerror} ({directory})") from error


def read(directory: str, project: int, syscalls: Syscalls = kernel) -> Count:
    """What the project may have and has; nothing for one that was never used."""
    record = bytearray(_DQBLK.size)
    try:
        _quotactl(directory, _Q_GETQUOTA, project, record, syscalls)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH) or project == 0:
            raise
        return Count(0, 0, 0, 0)
    fields = _DQBLK.unpack(record)
    return Count(fields[0] * 1024, fields[3], fields[2], fields[5])


def _quotactl(directory: str, command: int, project: int, record: bytearray, syscalls: Syscalls) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.quotactl_fd(descriptor, command << _SUBCOMMAND_SHIFT | _PRJQUOTA, project, record)
    finally:
        os.close(descriptor)


def _filesystem(directory: str) -> tuple[str, set[str]]:
    """Type and options of the filesystem that ``directory`` is on (proc_pid_mountinfo(5))."""
    number = os.stat(directory).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    found = ("filesystem", "")
    with (
        contextlib.suppress(FileNotFoundError),
        open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file,
    ):
        for line in file:
            fields = line.split()
            if fields[2] == wanted:
                end = fields.index("-")
                found = (fields[end + 1], fields[end + 3])
    return found[0], set(found[1].split(","))
