"""Root filesystems for tests of storage drivers: one with all kinds of files, changes to it, and reading one back."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from typing import Any

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""``security.capability`` with cap_net_raw, as on ping."""
_OLD = 1_000_000_000_123_456_789


def write(path: str, text: str) -> None:
    """A file with ``text``."""
    with open(path, "w") as file:
        file.write(text)


def populate(root: str) -> None:
    """Files of all kinds, with all that can belong to one."""
    for name in ("etc", "usr/bin", "var/empty", "var/full/deep/deeper"):
        os.makedirs(f"{root}/{name}")
    for name in (
        "etc/passwd",
        "etc/hosts",
        "var/full/a",
        "var/full/b",
        "var/full/deep/deeper/c",
        "same-time",
    ):
        write(f"{root}/{name}", f"{name}\n" * 3)
    write(f"{root}/usr/bin/sudo", "#!")
    os.chown(f"{root}/usr/bin/sudo", 0, 42)
    os.chmod(f"{root}/usr/bin/sudo", 0o4750)
    write(f"{root}/usr/bin/ping", "elf")
    os.setxattr(f"{root}/usr/bin/ping", "security.capability", CAPABILITY)
    os.setxattr(f"{root}/etc/hosts", "trusted.note", b"\x00binary\xff")
    os.symlink("../etc", f"{root}/usr/link")
    os.symlink("/nowhere", f"{root}/usr/dangling")
    os.link(f"{root}/etc/passwd", f"{root}/etc/passwd-link")
    os.mknod(f"{root}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(f"{root}/fifo", 0o600)
    write(os.fsdecode(os.fsencode(root) + b"/not-utf8-\xff\xfe"), "x")
    os.makedirs(f"{root}/{'long-' * 30}/{'name-' * 40}")
    with open(f"{root}/sparse", "wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    os.chown(f"{root}/var/full", 100_000, 65_534)
    os.chmod(f"{root}/var/empty", 0o1777)
    for name in ("etc/hosts", "same-time", "usr/link"):
        os.utime(f"{root}/{name}", ns=(_OLD, _OLD), follow_symlinks=False)


def _same_time(root: str) -> None:
    status = os.stat(f"{root}/same-time")
    text = "SAME-TIME\n" * 3
    with open(f"{root}/same-time", "r+") as file:
        file.write(text)
    os.utime(f"{root}/same-time", ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace_by_file(root: str) -> None:
    shutil.rmtree(f"{root}/var/full")
    write(f"{root}/var/full", "now a file")


def _replace_by_directory(root: str) -> None:
    os.unlink(f"{root}/etc/hosts")
    os.mkdir(f"{root}/etc/hosts")
    write(f"{root}/etc/hosts/inside", "x")


def _remake_directory(root: str) -> None:
    shutil.rmtree(f"{root}/var/full")
    os.makedirs(f"{root}/var/full/deep")
    write(f"{root}/var/full/deep/new", "x")


def _append(root: str) -> None:
    with open(f"{root}/etc/hosts", "a") as file:
        file.write("more")


def _new_files(root: str) -> None:
    os.makedirs(f"{root}/new/er")
    write(f"{root}/new/er/est", "x")
    os.link(f"{root}/new/er/est", f"{root}/new/link")
    os.mknod(f"{root}/new/disk", stat.S_IFBLK | 0o660, os.makedev(8, 1))
    os.symlink("er", f"{root}/new/symlink")
    os.setxattr(f"{root}/new/er", "trusted.x", b"1")


def _remove_and_remake(root: str) -> None:
    os.unlink(f"{root}/etc/hosts")
    write(f"{root}/etc/hosts", "again")


def _retarget(root: str) -> None:
    os.unlink(f"{root}/usr/link")
    os.symlink("../var", f"{root}/usr/link")


def _remove_all(root: str) -> None:
    for entry in list(os.scandir(root)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry)
        else:
            os.unlink(entry)


CHANGES: dict[str, Callable[[str], Any]] = {
    "nothing": lambda root: None,
    "new files": _new_files,
    "a file is appended to": _append,
    "a file changes within its size and gets its time back": _same_time,
    "a file is removed": lambda root: os.unlink(f"{root}/etc/hosts"),
    "a file is removed and made again": _remove_and_remake,
    "a directory is removed": lambda root: shutil.rmtree(f"{root}/var/full"),
    "a directory becomes a file": _replace_by_file,
    "a file becomes a directory": _replace_by_directory,
    "a directory is made anew": _remake_directory,
    "a file is renamed": lambda root: os.rename(f"{root}/etc/hosts", f"{root}/var/hosts"),
    "a mode changes": lambda root: os.chmod(f"{root}/etc/hosts", 0o600),
    "an owner changes": lambda root: os.chown(f"{root}/usr/bin", 5, 6),
    "an attribute comes": lambda root: os.setxattr(f"{root}/var/full/a", "trusted.new", b""),
    "an attribute goes": lambda root: os.removexattr(f"{root}/etc/hosts", "trusted.note"),
    "a time changes": lambda root: os.utime(f"{root}/var/full/a", (1, 1)),
    "a symbolic link changes": _retarget,
    "an old file gets a second name": lambda root: os.link(f"{root}/etc/hosts", f"{root}/etc/hosts2"),
    "a second name goes": lambda root: os.unlink(f"{root}/etc/passwd-link"),
    "the root's mode changes": lambda root: os.chmod(root, 0o711),
    "everything is removed": _remove_all,
}


def read(root: str) -> dict[bytes, tuple[Any, ...]]:
    """Everything below ``root`` that a layer carries, in a form to compare; the root without its time.

    A hard link is shown as the first of its file's names.
    """
    base = os.fsencode(root)
    found: dict[bytes, tuple[Any, ...]] = {b"": _look(base + b"/.")[:4]}
    names: dict[tuple[int, int], bytes] = {}
    for directory, directories, files in os.walk(base):
        directories.sort()
        for entry in sorted(directories + files):
            path = directory + b"/" + entry
            name = path[len(base) + 1 :]
            status = os.lstat(path)
            first = name
            if not stat.S_ISDIR(status.st_mode):
                first = names.setdefault((status.st_dev, status.st_ino), name)
            found[name] = (*_look(path), first)
    return found


def _look(path: bytes) -> tuple[Any, ...]:
    status = os.lstat(path)
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
        if not name.startswith(("trusted.overlay.", "security.selinux"))
    }
    content: Any = None
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = file.read()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    device = status.st_rdev if status.st_mode & stat.S_IFCHR else 0
    return status.st_mode, status.st_uid, status.st_gid, attributes, content, device, status.st_mtime_ns
