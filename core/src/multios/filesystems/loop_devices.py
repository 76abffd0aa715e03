"""Files as block devices, by loop(4): attached when they are used, let go of by the kernel with their last user.

A file must never be behind two devices at once: two filesystems would write over each other. So whoever attaches
it holds flock(2) on the descriptor that is given to the kernel. The device keeps that open file, and the lock with
it, until it lets go of the file; a process that dies in between leaves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator

from multios.errors import StepFailed, Unsupported

# linux/loop.h
_LOOP_CONFIGURE = 0x4C0A
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_SET_CAPACITY = 0x4C07
_LOOP_CTL_GET_FREE = 0x4C82
_AUTOCLEAR, _DIRECT_IO = 4, 16
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")
"""struct loop_info64: device, inode, rdev, offset, size limit, number, three of encryption, flags, names, key, two more."""
_CONFIG = struct.Struct(f"=II{_INFO.size}s64x")
"""struct loop_config: descriptor, block size, loop_info64, reserved."""

BLOCK_SIZE = 4096
_CONTROL = "/dev/loop-control"
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.002


def why_none() -> str:
    """Why this host has no loop devices for us; empty where it has."""
    try:
        os.close(os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{_CONTROL}: {error.strerror}"
    return ""


@contextlib.contextmanager
def attached(path: str) -> Iterator[tuple[int, str]]:
    """The block device of the file ``path``: an open descriptor, and its name (``loop3``).

    The one that it is behind already, or else a free one. The kernel lets go of the file when nobody has the
    device open or mounted any more: a mount that is made in the block keeps it.
    """
    device, name = _attach(path)
    try:
        yield device, name
    finally:
        os.close(device)


def grown(device: int) -> None:
    """Tell the device that its file has become larger."""
    fcntl.ioctl(device, _LOOP_SET_CAPACITY)


def is_attached(path: str) -> bool:
    """Whether the file is behind a device, or about to be."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return not _lock(file)
    finally:
        os.close(file)


def _attach(path: str) -> tuple[int, str]:
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            found = _configured(file) if _lock(file) else _found(os.fstat(file))
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise StepFailed(
                    f"attach {path}", "it stays in use, and no loop device has it", "see losetup -a"
                )
            time.sleep(
                _PAUSE_SECONDS
            )  # the kernel is letting go of it, or another thread attaches it just now
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _configured(file: int) -> tuple[int, str] | None:
    """A free device with our file in it; ``None`` when another process was faster to take that device."""
    try:
        control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Unsupported(f"{_CONTROL}: {error.strerror}", "load the loop module: modprobe loop") from error
    try:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    finally:
        os.close(control)
    device = _open(f"loop{number}")
    if device is None:
        return None
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR | _DIRECT_IO, b"", b"", b"", 0, 0)
    try:
        fcntl.ioctl(device, _LOOP_CONFIGURE, _CONFIG.pack(file, BLOCK_SIZE, info))
    except OSError as error:
        os.close(device)
        if error.errno == errno.EBUSY:
            return None
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            raise Unsupported("this kernel lacks LOOP_CONFIGURE", "use Linux 5.8 or later") from error
        raise
    return device, f"loop{number}"


def _found(file: os.stat_result) -> tuple[int, str] | None:
    """The device that has the file, opened: then it keeps it."""
    for name in os.listdir("/sys/block"):
        if not name.startswith("loop") or not os.path.exists(f"/sys/block/{name}/loop/backing_file"):
            continue
        device = _open(name)
        if device is None:
            continue
        try:
            fields = _INFO.unpack(fcntl.ioctl(device, _LOOP_GET_STATUS64, bytes(_INFO.size)))
        except OSError:  # ENXIO: let go of meanwhile
            fields = (-1, -1)
        if fields[:2] == (file.st_dev, file.st_ino):
            return device, name
        os.close(device)
    return None


def _open(name: str) -> int | None:
    """A block device by its kernel name; without a node in /dev, one is made for the moment."""
    options = os.O_RDWR | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(f"/dev/{name}", options)
    try:
        with open(f"/sys/block/{name}/dev", encoding="ascii") as file:
            major, minor = file.read().split(":")
        node = f"/dev/.multios-{name}-{os.getpid()}-{time.monotonic_ns()}"
        os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(int(major), int(minor)))
        try:
            return os.open(node, options)
        finally:
            os.unlink(node)
    except FileNotFoundError:
        return None
