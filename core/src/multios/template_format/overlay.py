"""``rootfs/``: the files of a template that are copied over the root filesystem.

All of it is root's; a file is 0755 or 0644, a new directory 0755; directories that are there already stay as they are.
A symbolic link must be relative and stay below ``rootfs/``; devices, sockets and FIFOs are refused. What is read is
opened below the folder by openat2(2), so that a link that appears meanwhile leads nowhere.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from multios.build.context import Entry
from multios.build.stat_cache import identity
from multios.errors import InvalidInput
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

FOLDER = "rootfs"
MOST_FILES = 10_000
LARGEST = 256 << 20
"""Of all files together, in bytes."""
DEEPEST = 40
_BELOW = flags.RESOLVE_BENEATH | flags.RESOLVE_NO_SYMLINKS
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Overlay:
    """A template's ``rootfs/``, looked through and found right: a :class:`multios.build.trees.Source` too.

    ``InvalidInput`` begins with ``where`` and names the path that is wrong. An absent folder has no entries.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self._folder, self._where = folder, where
        self._entries = {entry.path: entry for entry in self._walk()} if folder.is_dir() else {}
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise InvalidInput(f"{where}: must be a folder", "put the files below it")

    @property
    def sources(self) -> tuple[str, ...]:
        """What is copied: every file and link, and folders in which there is nothing else."""
        needed = {posixpath.dirname(path) for path in self._entries}
        return tuple(path for path in sorted(self._entries) if path not in needed)

    @property
    def fingerprint(self) -> str:
        """``sha256:`` of names, modes, links and contents; empty where there is nothing."""
        if not self._entries:
            return ""
        facts = tuple(
            (path, entry.status.st_mode, entry.link, identity(entry.status))
            for path, entry in sorted(self._entries.items())
        )
        return _digest(os.fspath(self._folder), facts)

    # --- as a source of COPY ------------------------------------------------------------------------

    def select(self, pattern: str) -> Sequence[str]:
        """The path itself: nothing in a name is a wildcard."""
        return [pattern] if pattern in self._entries else []

    def walk(self, path: str) -> Iterator[Entry]:
        """The one entry: what is copied is told path by path."""
        yield self._entries[path]

    def open(self, path: str) -> int:
        """See :class:`multios.build.trees.Source`."""
        return _open(self._folder, path)

    def digest(self, entry: Entry) -> str:
        """See :class:`multios.build.trees.Source`."""
        return _content(self._folder, entry.path)

    # --- looking through ----------------------------------------------------------------------------

    def _walk(self) -> Iterator[Entry]:
        size = 0
        for count, (path, status) in enumerate(_below(self._folder, "", 0, self._where), 1):
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
            if count > MOST_FILES or size > LARGEST:
                raise InvalidInput(
                    f"{self._where}: more than {MOST_FILES} files or {LARGEST >> 20} MiB",
                    "leave out what steps can fetch or make",
                )
            yield self._entry(path, status)

    def _entry(self, path: str, status: os.stat_result) -> Entry:
        place = f"{self._where}/{path}"
        if not path.isprintable():
            raise InvalidInput(f"{self._where}: {path!r} is not printable", "rename it")
        if stat.S_ISLNK(status.st_mode):
            link = os.readlink(self._folder / path)
            inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
            if link.startswith("/") or inside == ".." or inside.startswith("../"):
                raise InvalidInput(
                    f"{place}: is a link out of {FOLDER}/: {link[:80]!r}",
                    "make it relative, or make it by a step",
                )
            return Entry(path, status, link)
        if stat.S_ISREG(status.st_mode):
            mode = stat.S_IFREG | (0o755 if status.st_mode & 0o100 else 0o644)
        elif stat.S_ISDIR(status.st_mode):
            mode = stat.S_IFDIR | 0o755
        else:
            raise InvalidInput(f"{place}: is neither file, folder nor link", "make it by a step")
        return Entry(path, _with_mode(status, mode))


def _with_mode(status: os.stat_result, mode: int) -> os.stat_result:
    reduced: Any = status.__reduce__()  # the one way to have the nanoseconds too
    numbers, further = reduced[1]
    return os.stat_result((mode, *numbers[1:]), further)


def _below(folder: Path, path: str, depth: int, where: str) -> Iterator[tuple[str, os.stat_result]]:
    if depth > DEEPEST:
        raise InvalidInput(f"{where}: folders are nested deeper than {DEEPEST}", "flatten them")
    with os.scandir(folder / path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        below = f"{path}/{entry.name}" if path else entry.name
        status = entry.stat(follow_symlinks=False)
        yield below, status
        if stat.S_ISDIR(status.st_mode):
            yield from _below(folder, below, depth + 1, where)


def _open(folder: Path, path: str) -> int:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return kernel.openat2(directory, path, _READ, _BELOW)
    finally:
        os.close(directory)


def _content(folder: Path, path: str) -> str:
    with os.fdopen(_open(folder, path), "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=256)
def _digest(folder: str, facts: tuple[tuple[str, int, str, str], ...]) -> str:
    """Read only once as long as no file's identity changes."""
    total = hashlib.sha256()
    for path, mode, link, _ in facts:
        content = _content(Path(folder), path) if stat.S_ISREG(mode) else ""
        total.update("\0".join([path, oct(mode), link, content]).encode() + b"\n")
    return f"sha256:{total.hexdigest()}"
