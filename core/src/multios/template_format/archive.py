"""Templates as archives: read with distrust into a folder, written so that the same folder gives the same bytes.

Of a template's folder an archive holds what is a template's: ``template.toml``, ``lesson.md``, ``template.lock``,
``README.md``, ``LICENSE`` and ``rootfs/``; anything else is left out, and said.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import posixpath
import shutil
import stat
import tarfile
from pathlib import Path
from typing import IO, BinaryIO, cast

from multios.errors import InvalidInput
from multios.layers.archive import Entry, Source, entries
from multios.layers.compression import decompressed
from multios.template_format import overlay
from multios.template_format.tree import LESSON, LOCK, TEMPLATE

KNOWN = (TEMPLATE, LESSON, LOCK, "README.md", "LICENSE", overlay.FOLDER)
MOST_MEMBERS = overlay.MOST_FILES + 100
LARGEST = overlay.LARGEST + (4 << 20)
"""Of all files together, in bytes."""
_LONGEST_NAME = 1024
_CHUNK = 1 << 20
_FILE, _HARD_LINK, _LINK, _FOLDER = (b"0", b"7", b"\0"), b"1", b"2", b"5"


def unpack(stream: BinaryIO, folder: Path, where: str) -> tuple[Path, list[str]]:
    """Write the template in an archive (tar, plain or compressed) below the new ``folder``.

    Returns where ``template.toml`` is, the top or the one folder in it, and what was left out. Errors begin with ``where``:
    ``InvalidInput`` for an archive that is damaged, too large, leads out of itself, or holds no template.
    """
    try:
        _Unpacking(folder, where).run(stream)
    except InvalidInput as error:  # what cannot be read as tar knows no name
        cause = error.cause if error.cause.startswith(f"{where}: ") else f"{where}: {error.cause}"
        raise InvalidInput(cause, error.remedy or "make the archive again") from None
    except EOFError:
        raise InvalidInput(f"{where}: the archive is cut short", "make it again") from None
    except OSError as error:
        raise InvalidInput(
            f"{where}: {error.strerror or error}", "give a tar archive with plain names"
        ) from error
    top = _top(folder, where)
    left_out = sorted(name for name in os.listdir(top) if name not in KNOWN)
    for name in left_out:
        path = top / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return top, left_out


def _top(folder: Path, where: str) -> Path:
    inside = sorted(os.listdir(folder))
    if TEMPLATE not in inside and len(inside) == 1 and (folder / inside[0]).is_dir():
        folder = folder / inside[0]
    if folder.is_symlink() or not os.path.lexists(folder / TEMPLATE):
        raise InvalidInput(f"{where}: there is no {TEMPLATE} in it", "a template is a folder with one")
    return folder


class _Unpacking:
    """One archive. Links are made last, so that nothing is ever written through one."""

    def __init__(self, folder: Path, where: str) -> None:
        self._folder, self._where = folder, where
        self._left = LARGEST
        self._links: dict[str, str] = {}
        self._seen: set[str] = set()

    def run(self, stream: BinaryIO) -> None:
        source = Source(decompressed(stream.read), 2 * LARGEST, digested=False)
        for count, entry in enumerate(entries(source)):
            if count == MOST_MEMBERS:
                raise InvalidInput(
                    f"{self._where}: more than {MOST_MEMBERS} members", "a template has few files"
                )
            self._left -= entry.size
            if self._left < 0:
                raise InvalidInput(f"{self._where}: more than {LARGEST >> 20} MiB", "leave out large files")
            self._take(entry, source)
        source.drain()  # what was cut off behind the end is told too
        for name, target in self._links.items():
            self._parent(name)
            os.symlink(target, self._folder / name)

    def _take(self, entry: Entry, source: Source) -> None:
        name = self._name(entry.name)
        if entry.type_flag == _FOLDER:
            if name:
                self._make(name)
            source.skip(entry.size)
            return
        if not name or name in self._seen:
            raise self._wrong(name or ".", "is there twice", "make the archive again")
        self._seen.add(name)
        if entry.type_flag == _LINK:
            self._links[name] = self._text(entry.link)
            source.skip(entry.size)
        elif entry.type_flag == _HARD_LINK:
            self._copy(self._name(entry.link), name)
            source.skip(entry.size)
        elif entry.type_flag in _FILE:
            self._write(name, entry, source)
        else:
            raise self._wrong(name, "is neither file, folder nor link", "make it by a step")

    def _text(self, raw: bytes) -> str:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or len(raw) > _LONGEST_NAME or not text.isprintable():
            raise InvalidInput(f"{self._where}: a name of {raw[:80]!r}", "use printable names")
        return text

    def _name(self, raw: bytes) -> str:
        text = self._text(raw)
        name = posixpath.normpath(text)
        if text.startswith("/") or ".." in text.split("/"):
            raise self._wrong(text, "leads out of the archive", "do not trust where it came from")
        return "" if name == "." else name

    def _wrong(self, name: str, what: str, remedy: str) -> InvalidInput:
        return InvalidInput(f"{self._where}: {name[:200]}: {what}", remedy)

    def _parent(self, name: str) -> None:
        if "/" in name:
            self._make(posixpath.dirname(name))

    def _make(self, name: str) -> None:
        (self._folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)

    def _write(self, name: str, entry: Entry, source: Source) -> None:
        self._parent(name)
        mode = 0o755 if entry.mode & 0o100 else 0o644
        left = entry.size
        with open(self._folder / name, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            while left:
                part = source.some(min(left, _CHUNK))
                if not part:
                    raise EOFError
                file.write(part)
                left -= len(part)
            os.fchmod(file.fileno(), mode)

    def _copy(self, origin: str, name: str) -> None:
        """A hard link: another file of the same content."""
        source = self._folder / origin
        if origin not in self._seen or not source.is_file():
            raise self._wrong(name, f"is a link to {origin!r}, which is not there", "make the archive again")
        self._left -= source.stat().st_size
        if self._left < 0:
            raise InvalidInput(f"{self._where}: more than {LARGEST >> 20} MiB", "leave out large files")
        self._parent(name)
        shutil.copy(source, self._folder / name)


# --- writing --------------------------------------------------------------------------------------


def write(folder: Path, target: IO[bytes]) -> tuple[str, int]:
    """Write the template in ``folder`` as a gzipped tar to ``target``; the tar's sha256 in hex, and its size.

    Order, owners, modes and times do not depend on the folder, so the same template gives the same bytes.
    """
    digested = _Digested(gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=9, mtime=0))
    with tarfile.open(fileobj=cast(IO[bytes], digested), mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in _members(folder):
            _add(archive, folder / name, name)
    digested.close()
    return digested.hexdigest, digested.size


def digest(folder: Path) -> tuple[str, int]:
    """What identifies the template in ``folder``: the sha256 of its tar in hex; and the tar's size."""
    return write(folder, cast(IO[bytes], _Nothing()))


def _members(folder: Path) -> list[str]:
    found = []
    for name in sorted(KNOWN):
        path = folder / name
        if not os.path.lexists(path):
            continue
        found.append(name)
        if path.is_dir() and not path.is_symlink():
            for directory, folders, files in os.walk(path):
                below = os.path.relpath(directory, folder)
                found += [f"{below}/{one}" for one in (*folders, *files)]
    return sorted(found)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    status = path.lstat()
    member = tarfile.TarInfo(name)
    if stat.S_ISLNK(status.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
        archive.addfile(member)
    elif stat.S_ISDIR(status.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(member)
    else:
        member.mode = 0o755 if status.st_mode & 0o100 else 0o644
        member.size = status.st_size
        with path.open("rb") as file:
            archive.addfile(member, file)


class _Digested:
    """Digests what is written on its way to a compressor."""

    def __init__(self, compressor: gzip.GzipFile) -> None:
        self._compressor, self._hash = compressor, hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Pass on."""
        self.size += len(data)
        self._hash.update(data)
        return self._compressor.write(data)

    def close(self) -> None:
        """End the compressed stream; the file below stays open."""
        self._compressor.close()

    @property
    def hexdigest(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()


class _Nothing:
    """A file that keeps nothing."""

    def write(self, data: bytes) -> int:
        """Forget."""
        return len(data)

    def flush(self) -> None:
        """Nothing is kept."""
