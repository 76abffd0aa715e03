"""What ``doctor`` says of overlayfs on this host."""

from __future__ import annotations

import os
from collections.abc import Iterator

from multios.model.health import Health, HealthCheck
from multios.rootless import roots

_DATA_ROOT = "/var/lib/multios/containers"
# Filesystems that cannot be an upper layer: no whiteouts, no trusted attributes or no d_type.
_UNFIT = ("overlay", "nfs", "nfs4", "cifs", "smb3", "vfat", "exfat", "ntfs", "ntfs3", "9p", "ecryptfs")
_VFS = "use the vfs storage driver, or put data_root on ext4 or xfs"


def checks() -> Iterator[HealthCheck]:
    """Quick, and nothing is changed."""
    yield _kernel()
    own = roots.own()
    yield _data_root(os.environ.get("MULTIOS_DATA_ROOT") or (own.data_root if own else _DATA_ROOT))


def _kernel() -> HealthCheck:
    with open("/proc/filesystems", encoding="ascii") as file:
        known = "\toverlay\n" in file.read()
    if known:
        return HealthCheck("overlay filesystem", Health.OK, "the kernel has it")
    return HealthCheck(
        "overlay filesystem",
        Health.SKIP,
        "the kernel has not loaded it",
        "modprobe overlay, or use the vfs storage driver",
    )


def _data_root(path: str) -> HealthCheck:
    """The filesystem of the nearest directory that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    kind = _filesystem(path)
    subject = "overlay on the data root"
    if kind in _UNFIT or kind.startswith("fuse"):
        return HealthCheck(subject, Health.SKIP, f"{path} is on {kind}, which cannot be an upper layer", _VFS)
    return HealthCheck(subject, Health.OK, f"{path} is on {kind}")


def _filesystem(path: str) -> str:
    """The type of the filesystem that ``path`` is on (proc_pid_mountinfo(5))."""
    number = os.stat(path).st_dev
    wanted, found = f"{os.major(number)}:{os.minor(number)}", ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            if fields[2] == wanted:
                found = fields[fields.index("-") + 1]
    return found or "an unknown filesystem"
