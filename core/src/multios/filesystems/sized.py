"""A filesystem of a limited size in a sparse file: ext4 on a loop device, mounted detached.

The limit itself is kept by ext4's *reserved clusters* (kernel: ext4/atomic, /sys/fs/ext4/DEV/reserved_clusters), which
nobody may use for data, root neither: all that the filesystem has beyond the limit is reserved. So a limit is
changed in no time and while a container runs, up to the size of the filesystem. That is the first limit where the
kernel lets us enlarge a mounted ext4 (CAP_SYS_RESOURCE), and some times as much where it does not: the file is
sparse, so what cannot be used takes no space.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator

from multios.errors import Conflict, StepFailed, Unsupported
from multios.filesystems import loop_devices
from multios.model.quantities import format_size
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

BLOCK = 4096
INODE_EVERY = 16384
"""Bytes of the filesystem for each inode it has; never fewer than :data:`FEWEST_INODES`."""
FEWEST_INODES = 8192
SMALLEST = 1 << 20
_HEADROOM = 4
_MOST_HEADROOM = 32 << 30
_INODE_SIZE = 256
_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
"""Named one by one, so that neither the host's mke2fs.conf nor a newer mkfs makes what an older kernel cannot mount."""
_OWN_INODES = 11 + 16
"""ext4's first ones, and the spare files."""
_SPARE = tuple(f"spare-{number}" for number in range(16))
_ROOM_BLOCKS = 16
_RESIZE_FS = 0x40086610
"""EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64), ext4/ext4.h."""
_CAP_SYS_RESOURCE = 24
_REMEDY = "install e2fsprogs, and have loop devices (modprobe loop)"


def why_none() -> str:
    """Why this host can have no sized filesystems; empty where it can."""
    if not shutil.which("mkfs.ext4", path=_path()):
        return "there is no mkfs.ext4"
    with open("/proc/filesystems", encoding="ascii") as file:
        if "\text4\n" not in file.read():
            return "the kernel has no ext4"
    if not os.access("/sys/fs/ext4", os.W_OK):
        return "/sys/fs/ext4 cannot be written"
    return loop_devices.why_none()


def make(path: str, limit: int) -> None:
    """Make the file ``path`` with an empty filesystem that will hold ``limit`` bytes. It takes no space yet.

    Runs mkfs.ext4 (some 5 ms). On failure the file is gone.
    """
    capacity = limit if may_enlarge() else limit + min((_HEADROOM - 1) * limit, _MOST_HEADROOM)
    inodes = max(FEWEST_INODES, capacity // INODE_EVERY)
    journal = 4 if limit < 1 << 30 else 16
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _file_size(capacity, inodes, journal))
        finally:
            os.close(descriptor)
        _run(
            "mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-m", "0", "-N", str(inodes), "-I", str(_INODE_SIZE),
            "-J", f"size={journal}", "-O", _FEATURES,
            "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", path,
        )  # fmt: skip
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise


def _file_size(capacity: int, inodes: int, journal: int) -> int:
    """Bytes of the file: what is used, inode tables, journal, and what groups of blocks need for themselves."""
    own = inodes * _INODE_SIZE + (journal << 20) + (capacity >> 8) + (6 << 20)
    return (capacity + own + BLOCK - 1) // BLOCK * BLOCK


def mount(path: str, limit: int) -> int:
    """A detached mount of the filesystem in the file ``path``, of which ``limit`` bytes may be used.

    The descriptor is the caller's. The same file mounted twice is one filesystem.
    """
    with loop_devices.attached(path) as (device, name):
        context = kernel.fsopen("ext4")
        try:
            node = f"/dev/{name}" if os.path.exists(f"/dev/{name}") else f"/proc/self/fd/{device}"
            kernel.fsconfig(context, flags.FSCONFIG_SET_STRING, "source", node)
            # Freed blocks go back to the host's disk; tables of inodes are written when they are used.
            for word in ("discard", "noinit_itable"):
                kernel.fsconfig(context, flags.FSCONFIG_SET_FLAG, word)
            kernel.fsconfig(context, flags.FSCONFIG_CMD_CREATE)
            root = kernel.fsmount(context)
        finally:
            os.close(context)
        try:
            _keep(root, limit)
        except BaseException:
            os.close(root)
            raise
        return root


@contextlib.contextmanager
def mounted(path: str, limit: int) -> Iterator[int]:
    """:func:`mount` for as long as the block runs."""
    root = mount(path, limit)
    try:
        yield root
    finally:
        os.close(root)


def used(root: int) -> tuple[int, int]:
    """Bytes and inodes in use in the mounted filesystem; what an empty one needs is not counted."""
    status = os.fstatvfs(root)
    return (status.f_blocks - status.f_bfree) * status.f_frsize, max(
        0, status.f_files - status.f_ffree - _OWN_INODES
    )


def inodes(root: int) -> int:
    """How many files the mounted filesystem can hold."""
    return os.fstatvfs(root).f_files - _OWN_INODES


def resize(path: str, before: int, limit: int) -> None:
    """Change the limit from ``before`` to ``limit`` bytes, also while the filesystem is in use.

    ``Conflict`` when more is used than ``limit``, and when the filesystem is in use, has to be enlarged and the
    kernel lets us do so only with a stopped container.
    """
    with mounted(path, before) as root:
        status = os.fstatvfs(root)
        taken = used(root)[0]
        if taken > limit:
            raise too_much(taken, limit)
        fits = status.f_blocks * BLOCK >= limit
        if fits:
            os.close(mount(path, limit))  # sets what may be used
            return
        size = (
            os.stat(path).st_size // BLOCK * BLOCK + limit // BLOCK * BLOCK + BLOCK - status.f_blocks * BLOCK
        )
        size += (limit >> 6) // BLOCK * BLOCK + (2 << 20)  # tables of the new groups of blocks
        if may_enlarge():
            _enlarge_mounted(path, root, size)
    if not may_enlarge():
        _enlarge_unmounted(path, size)
    os.close(mount(path, limit))


def _enlarge_mounted(path: str, root: int, size: int) -> None:
    before = os.stat(path).st_size
    directory = os.open(f"/proc/self/fd/{root}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with loop_devices.attached(path) as (device, _):
            os.truncate(path, size)
            try:
                loop_devices.grown(device)
                fcntl.ioctl(directory, _RESIZE_FS, struct.pack("=Q", size // BLOCK))
            except OSError as error:
                os.truncate(path, before)
                loop_devices.grown(device)
                raise StepFailed(
                    "enlarge filesystem", error.strerror or "", "stop the container and try again"
                ) from error
    finally:
        os.close(directory)


def _enlarge_unmounted(path: str, size: int) -> None:
    """With resize2fs, on the file itself, which nobody may have mounted meanwhile."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            cause = (
                "the container is in use, and enlarging its filesystem that far needs CAP_SYS_RESOURCE then"
            )
            raise Conflict(cause, "stop the container, update it, start it again") from None
        os.ftruncate(file, size)
        _run("e2fsck", "-f", "-y", path, fine=(0, 1))
        _run("resize2fs", path)
    finally:
        os.close(file)


def too_much(taken: int, limit: int) -> Conflict:
    """More is in use than a new limit."""
    return Conflict(
        f"{format_size(taken)} are in use, more than the new limit of {format_size(limit)}",
        "delete files in the container first, or choose a larger limit",
    )


def may_enlarge() -> bool:
    """Whether this process may enlarge a mounted ext4."""
    return bool(kernel.capget()[0] >> _CAP_SYS_RESOURCE & 1)


def make_spare(root: int) -> None:
    """Keep some files that can be given up when the mounted filesystem has no more inodes; for :func:`room`."""
    for name in _SPARE:
        os.close(os.open(name, os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=root))


@contextlib.contextmanager
def room(path: str, root: int, limit: int) -> Iterator[None]:
    """Room for a few files more than the limit allows while the block runs, where the filesystem mounted is full.

    An overlay makes files in its work directory when it is mounted, and must not fail for a container that has
    filled its disk: it could not be started to delete anything.
    """
    status = os.fstatvfs(root)
    if status.f_bavail >= _ROOM_BLOCKS and status.f_ffree >= len(_SPARE):
        yield
        return
    with mounted(path, limit) as own:  # ``root`` may be idmapped: the host's root could make nothing there
        for name in _SPARE:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=own)
        _keep(own, (status.f_blocks - status.f_bfree + _ROOM_BLOCKS) * BLOCK)
        try:
            yield
            with contextlib.suppress(OSError):  # the container's processes were faster
                make_spare(own)
        finally:
            _keep(own, limit)


def _keep(root: int, limit: int) -> None:
    """Reserve all but ``limit`` bytes of the mounted filesystem."""
    blocks, number = os.fstatvfs(root).f_blocks, os.fstat(root).st_dev
    name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))
    try:
        with open(f"/sys/fs/ext4/{name}/reserved_clusters", "w", encoding="ascii") as file:
            file.write(str(max(0, blocks - limit // BLOCK)))
    except OSError as error:
        raise Unsupported(
            f"the limit of {name} cannot be set: {error.strerror}", "mount sysfs at /sys"
        ) from error


def _run(program: str, *words: str, fine: tuple[int, ...] = (0,)) -> None:
    found = shutil.which(program, path=_path())
    if found is None:
        raise Unsupported(f"there is no {program}", _REMEDY)
    ended = subprocess.run(
        [found, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False, env={"LC_ALL": "C.UTF-8"}
    )
    if ended.returncode not in fine:
        lines = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip().splitlines()
        full = any(os.strerror(errno.ENOSPC) in line for line in lines)
        raise StepFailed(
            program,
            lines[-1][:300] if lines else f"exit {ended.returncode}",
            "free some space" if full else "",
        )


def _path() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
