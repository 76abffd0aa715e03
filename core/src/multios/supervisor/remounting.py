"""Mount attributes by mount(2), for kernels before 5.12, which lack mount_setattr(2)."""

from __future__ import annotations

import os

from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

_FLAGS = (
    (flags.MOUNT_ATTR_RDONLY, flags.MS_RDONLY, os.ST_RDONLY),
    (flags.MOUNT_ATTR_NOSUID, flags.MS_NOSUID, os.ST_NOSUID),
    (flags.MOUNT_ATTR_NODEV, flags.MS_NODEV, os.ST_NODEV),
    (flags.MOUNT_ATTR_NOEXEC, flags.MS_NOEXEC, os.ST_NOEXEC),
    (flags.MOUNT_ATTR_NOATIME, flags.MS_NOATIME, os.ST_NOATIME),
    (flags.MOUNT_ATTR_NODIRATIME, flags.MS_NODIRATIME, os.ST_NODIRATIME),
    (0, flags.MS_RELATIME, os.ST_RELATIME),
)


def kept_flags(path: str) -> int:
    """MS_* of the mount at ``path`` that a remount must repeat, lest they fall away (or, where locked, be refused)."""
    now = os.statvfs(path).f_flag
    kept = 0
    for _, flag, shown in _FLAGS:
        kept |= flag if now & shown else 0
    return kept & ~flags.MS_RDONLY


def add_attributes(path: str, attributes: int, recursive: bool, proc: str = "/proc") -> None:
    """Set ``attributes`` (MOUNT_ATTR_*) on the mount at absolute ``path``, and on those below it if ``recursive``.

    Not atomic as mount_setattr(2) is; so use it on mounts that nobody else sees yet. ``proc`` is where a procfs is.
    """
    wanted = 0
    for attribute, flag, _ in _FLAGS:
        wanted |= flag if attributes & attribute else 0
    for place in _mounts_at(path, proc) if recursive else [path]:
        read_only = flags.MS_RDONLY if os.statvfs(place).f_flag & os.ST_RDONLY else 0
        kernel.mount("", place, "", flags.MS_REMOUNT | flags.MS_BIND | kept_flags(place) | read_only | wanted)


def _mounts_at(path: str, proc: str) -> list[str]:
    """The mount points at and below ``path`` in this thread's mount namespace; proc_pid_mountinfo(5)."""
    with open(f"{proc}/thread-self/mountinfo", "rb") as file:
        points = [os.fsdecode(_unescape(line.split(b" ")[4])) for line in file]
    return [point for point in points if point == path or point.startswith(path.rstrip("/") + "/")]


def _unescape(text: bytes) -> bytes:
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        text = text.replace(code, character)
    return text
