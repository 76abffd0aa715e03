"""Mount points that a command's container leaves in its root, and that belong in no image."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable

from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

ALWAYS = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""What is mounted in every container."""

_IN_ROOT = flags.RESOLVE_IN_ROOT | flags.RESOLVE_NO_MAGICLINKS


def absent(root: int, targets: Iterable[str]) -> list[str]:
    """Of the mount points and the directories above them those that ``root`` has not, deepest first."""
    found = set()
    for target in (*ALWAYS, *targets):
        path = posixpath.normpath(target)
        while path not in ("/", "//", ".", "") and path not in found and not _exists(root, path):
            found.add(path)
            path = posixpath.dirname(path)
    return sorted(found, key=lambda path: (-path.count("/"), path))


def remove(root: int, paths: Iterable[str]) -> None:
    """Remove those of ``paths`` that are there and empty: what a command has written into stays."""
    for path in paths:
        try:
            parent = kernel.openat2(root, posixpath.dirname(path), os.O_PATH | os.O_CLOEXEC, _IN_ROOT)
        except OSError:
            continue
        try:
            name = posixpath.basename(path)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(name, dir_fd=parent)
            elif stat.S_ISREG(status.st_mode) and not status.st_size:
                os.unlink(name, dir_fd=parent)
        except OSError:  # it is gone, or not empty
            pass
        finally:
            os.close(parent)


def _exists(root: int, path: str) -> bool:
    try:
        os.close(kernel.openat2(root, path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, _IN_ROOT))
    except OSError:
        return False
    return True
