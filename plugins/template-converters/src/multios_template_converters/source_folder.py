"""The folder of a source: what is read and copied of it, and nothing beside it."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from multios.errors import InvalidInput
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel
from multios.template_format.overlay import DEEPEST, LARGEST, MOST_FILES
from multios_template_converters.values import LARGEST_DOCUMENT, Account, clean, shown

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BELOW = flags.RESOLVE_BENEATH | flags.RESOLVE_NO_SYMLINKS
_CHUNK = 1 << 20


class SourceFolder:
    """Links are followed only where they end below the folder. All that is copied shares one template's bounds.

    ``target`` is where the copies go: should it be below the folder, it is passed over. Copied links are made last, by
    :meth:`make_links`, so that nothing is ever written through one. The folder is open from the beginning to the end of a
    ``with``, and every file is opened below it by openat2(2): who exchanges names meanwhile has nothing else read.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self._target = target.stat()
        self.path = path
        self._real = os.path.realpath(path)
        self.name = shown(os.path.basename(self._real)) or "root"
        self._files_left, self._bytes_left = MOST_FILES, LARGEST
        self._links: dict[Path, tuple[str, Account]] = {}
        self._directory = os.open(self._real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> SourceFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)

    def _open(self, real: str) -> int:
        return kernel.openat2(self._directory, os.path.relpath(real, self._real), _READ, _BELOW)

    def inside(self, name: str) -> str | None:
        """The real path of ``name``, relative to the folder or absolute; ``None`` if it is not there, or not below it."""
        try:
            real = os.path.realpath(os.path.join(self._real, name), strict=True)
        except (OSError, ValueError):
            return None
        return real if real == self._real or real.startswith(self._real + os.sep) else None

    def has_file(self, name: str) -> bool:
        """Whether there is something of that name, wherever it leads."""
        return os.path.lexists(self.path / name)

    def text(self, name: str) -> str:
        """The text of a small file; ``InvalidInput`` names it."""
        real = self.inside(name)
        if real is None:
            raise InvalidInput(
                f"{shown(name)}: leads out of its folder, or is not there", "put the file itself there"
            )
        try:
            with os.fdopen(self._open(real), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise InvalidInput(f"{shown(name)}: is no file", "put a file there")
                content = file.read(LARGEST_DOCUMENT + 1)
        except OSError as error:
            raise InvalidInput(
                f"{shown(name)}: {os.strerror(error.errno or 0)}", "it must be a file that you may read"
            ) from None
        if len(content) > LARGEST_DOCUMENT:
            raise InvalidInput(f"{shown(name)}: larger than {LARGEST_DOCUMENT >> 10} KiB", "make it shorter")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{shown(name)}: is no text", "save it as UTF-8") from None
        if not clean(text):
            raise InvalidInput(
                f"{shown(name)}: has characters that cannot be printed", "save it as plain text"
            )
        return text

    # --- copying ------------------------------------------------------------------------------------

    def copy(self, name: str, target: Path, account: Account, skip: Collection[str] = ()) -> None:
        """Copy the file or folder ``name`` to ``target``; what a template's ``rootfs/`` cannot hold is left out.

        ``skip`` are names at the top that stay behind. A link stays one where it is relative and does not lead out of
        what is copied.
        """
        real = self.inside(name)
        if real is None:
            raise InvalidInput(
                f"{shown(name)}: leads out of its folder, or is not there", "put the file itself there"
            )
        try:
            if os.path.isdir(real):
                target.mkdir(parents=True, exist_ok=True)
                for path, status in self._walk(real, "", 0, name, skip):
                    self._copy_entry(name, real, path, status, target, account)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._copy_file(real, target, os.lstat(real), name)
        except OSError as error:
            raise InvalidInput(
                f"{shown(name)}: {os.strerror(error.errno or 0)}", "it must be files that you may read"
            ) from None

    def _copy_entry(
        self, name: str, top: str, path: str, status: os.stat_result, target: Path, account: Account
    ) -> None:
        place = Account(posixpath.join(name, path), account.left_out)
        source, copied = os.path.join(top, path), target / path
        if not path.isprintable():
            place.leave("name", 0, "it cannot be printed")
        elif stat.S_ISDIR(status.st_mode):
            copied.mkdir(exist_ok=True)
        elif stat.S_ISLNK(status.st_mode):
            link = os.readlink(source)
            inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
            if link.startswith("/") or inside == ".." or inside.startswith("../") or not link.isprintable():
                place.leave("link", 0, f"it leads out of what is copied: {link}")
            else:
                self._count(0, name)
                self._links[copied] = (link, place)
        elif stat.S_ISREG(status.st_mode):
            self._copy_file(source, copied, status, name)
        else:
            place.leave("file", 0, "it is neither file, folder nor link")

    def make_links(self) -> None:
        """Make the links that were copied; one stays behind where something else came to be."""
        for copied, (link, place) in self._links.items():
            if os.path.lexists(copied) or not copied.parent.is_dir():
                place.leave("link", 0, "something else was copied there")
            else:
                copied.symlink_to(link)

    def _walk(
        self, top: str, path: str, depth: int, name: str, skip: Collection[str]
    ) -> Iterator[tuple[str, os.stat_result]]:
        if depth > DEEPEST:
            raise InvalidInput(f"{shown(name)}: folders are nested deeper than {DEEPEST}", "flatten them")
        with os.scandir(os.path.join(top, path)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            if entry.name in skip or os.path.samestat(status, self._target):
                continue
            below = f"{path}/{entry.name}" if path else entry.name
            yield below, status
            if stat.S_ISDIR(status.st_mode) and entry.name.isprintable():
                yield from self._walk(top, below, depth + 1, name, ())

    def _count(self, size: int, name: str) -> None:
        self._files_left -= 1
        self._bytes_left -= size
        if self._files_left < 0 or self._bytes_left < 0:
            raise InvalidInput(
                f"{shown(name)}: with it there are more than {MOST_FILES} files or {LARGEST >> 20} MiB",
                "leave out what steps can fetch or make",
            )

    def _copy_file(self, source: str, target: Path, status: os.stat_result, name: str) -> None:
        self._count(status.st_size, name)
        _replace(target)
        with os.fdopen(self._open(source), "rb") as reading, target.open("xb") as writing:
            if not stat.S_ISREG(os.fstat(reading.fileno()).st_mode):
                raise InvalidInput(f"{shown(name)}: is no file", "put a file there")
            left = status.st_size
            while left and (part := reading.read(min(left, _CHUNK))):
                writing.write(part)
                left -= len(part)
        target.chmod(0o755 if status.st_mode & 0o100 else 0o644)


def _replace(target: Path) -> None:
    """Make room: what is copied later goes over what was copied before."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif os.path.lexists(target):
        target.unlink()
