"""A child process that goes into a container's root and packs or unpacks there: the hands of ``cp`` and ``export``.

``python -m multios.engine.inside process PIDFD user|host VERB PATH`` or ``… chroot ROOTFD host VERB PATH``, with VERB
``in``, ``out`` or ``export``; the tar comes on stdin or goes to stdout. Everything that is needed is imported
before the root changes, so nothing of the container's is ever imported.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  (codecs are loaded by name; there is nothing to load from afterwards)
import grp  # noqa: F401  (tarfile looks names up in the container's files)
import os
import pwd  # noqa: F401
import stat
import sys
import tarfile

from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

NOT_THERE = 3
NO_DIRECTORY = 4
FILTERS = hasattr(tarfile, "fully_trusted_filter")


def main(way: str, descriptor: str, ids: str, verb: str, path: str) -> int:
    """Enter, then do what ``verb`` says; the exit status."""
    _enter(way, int(descriptor), ids == "user")
    if verb == "in":
        return _unpack(path)
    return _pack(path, one_filesystem=verb == "export")


def _enter(way: str, descriptor: int, user_namespace: bool) -> None:
    if way == "chroot":
        os.fchdir(descriptor)
        os.chroot(".")
    else:
        kernel.setns(descriptor, flags.CLONE_NEWNS | (flags.CLONE_NEWUSER if user_namespace else 0))
        if user_namespace:
            with contextlib.suppress(PermissionError):  # a namespace with a single id may not set groups
                os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
    os.chdir("/")


def _unpack(path: str) -> int:
    if not os.path.isdir(path):
        return NO_DIRECTORY if os.path.lexists(path) else NOT_THERE
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        # The container's root is our root: what the archive names cannot lie outside. An attribute, because
        # Debian 12's Python has no such argument yet.
        archive.extraction_filter = tarfile.fully_trusted_filter if FILTERS else None
        # A stopped container's files are written with the host's rights: no way to the host's devices is made.
        plain = (entry for entry in archive if not entry.ischr() and not entry.isblk())
        archive.extractall(path, members=plain, numeric_owner=True)
    return 0


def _pack(path: str, one_filesystem: bool) -> int:
    path = os.path.normpath(path)
    if not os.path.lexists(path):
        return NOT_THERE
    device = os.lstat(path).st_dev

    def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        source = os.path.join("/", entry.name) if one_filesystem else ""
        if one_filesystem and entry.name and os.lstat(source).st_dev != device:
            return _as_empty_directory(entry)
        if source:
            _add_attributes(entry, source)
        return entry

    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.copybufsize = 1024 * 1024  # type: ignore[attr-defined]
        if one_filesystem:
            for name in sorted(os.listdir("/")):
                archive.add("/" + name, name, filter=keep)
        else:
            archive.add(path, os.path.basename(path) or ".", filter=keep)
    return 0


def _as_empty_directory(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """What is mounted over the root is not the container's; its mount point is."""
    return entry if entry.isdir() and os.path.ismount("/" + entry.name) else None


def _add_attributes(entry: tarfile.TarInfo, source: str) -> None:
    if stat.S_ISLNK(os.lstat(source).st_mode):
        return
    headers = dict(entry.pax_headers)
    for name in os.listxattr(source, follow_symlinks=False):
        value = os.getxattr(source, name, follow_symlinks=False)
        headers[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
    entry.pax_headers = headers


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
