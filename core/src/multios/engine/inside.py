"""A child process that goes into a container's root and packs or unpacks there: the hands of ``cp`` and ``export``.

``python -m multios.engine.inside process PIDFD user|host VERB PATH`` or ``… chroot ROOTFD host VERB PATH``, with VERB
``in``, ``out`` or ``export``; the tar comes on stdin or goes to stdout. Everything that is needed is imported
before the root changes, so nothing of the container's is ever imported. Owners are numbers: looking up their names
would load the C library's name services, which are files of the container's by then (CVE-2019-14271).
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  (codecs are loaded by name; there is nothing to load from afterwards)
import os
import stat
import sys
import tarfile

from multios.closed_imports import close_imports
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

NOT_THERE = 3
NO_DIRECTORY = 4
FILTERS = hasattr(tarfile, "fully_trusted_filter")
tarfile.pwd = tarfile.grp = None  # type: ignore[attr-defined]  # no names: see above


def main(way: str, descriptor: str, ids: str, verb: str, path: str) -> int:
    """Enter, then do what ``verb`` says; the exit status."""
    close_imports()
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
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.copybufsize = 1024 * 1024  # type: ignore[attr-defined]
        if one_filesystem:
            _add_root(archive)
        else:
            archive.add(path, os.path.basename(path) or ".")
    return 0


def _add_root(archive: tarfile.TarFile) -> None:
    """Everything of the root's own. Of what is mounted over it only the mount point: an empty directory."""
    root = kernel.mount_id("/")
    waiting = ["/"]
    while waiting:
        below: list[str] = []
        for source in _children(waiting.pop()):
            try:
                is_own = kernel.mount_id(source) == root
                is_directory = stat.S_ISDIR(os.lstat(source).st_mode)
                if is_own or is_directory:
                    archive.add(
                        source, source[1:], recursive=False, filter=_with_attributes if is_own else None
                    )
            except FileNotFoundError:
                continue  # a running container removes files as it likes
            if is_own and is_directory:
                below.append(source)
        waiting += reversed(below)


def _children(directory: str) -> list[str]:
    try:
        return [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
    except FileNotFoundError:
        return []


def _with_attributes(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    source = "/" + entry.name
    if entry.issym():
        return entry
    headers = dict(entry.pax_headers)
    for name in os.listxattr(source, follow_symlinks=False):
        value = os.getxattr(source, name, follow_symlinks=False)
        headers[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
    entry.pax_headers = headers
    return entry


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
