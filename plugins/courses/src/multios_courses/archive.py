"""A bundle as a file: an uncompressed tar (ustar, POSIX.1-1988) of plain files, with ``manifest.json`` in front.

Any tar reads it. This reader takes only what the writer writes, so that nothing in a header has to be trusted: no links,
devices, sparse files or extended headers, no name that leads anywhere, no file that the manifest does not name, and never
more bytes than the file has.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from multios.errors import InvalidInput

MANIFEST = "manifest.json"
MOST_FILES = 10_000
LARGEST_MANIFEST = 8 << 20
_BEGINNING = "its beginning"
_BLOCK = 512
_LONGEST_NAME, _LONGEST_PREFIX = 100, 155
_LARGEST_SIZE = 8**11 - 1
_MOST_PARTS = 16
_CHUNK = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside: where its bytes begin in the bundle, and how many there are."""

    name: str
    offset: int
    size: int
    executable: bool = False


def check_name(name: str) -> None:
    """Raise ``ValueError`` for a name that is not a plain relative path of printable characters."""
    path = PurePosixPath(name)
    if (
        not name
        or not name.isprintable()
        or "\\" in name
        or path.is_absolute()
        or str(path) != name
        or len(path.parts) > _MOST_PARTS
        or any(part in ("", ".", "..") for part in name.split("/"))
    ):
        raise ValueError("is no plain relative path")


# --- writing ------------------------------------------------------------------------------------------------------


def write(target: Path, manifest: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """Write a bundle of ``files`` (name inside to file) whole or not at all; the manifest's SHA-256.

    The same files and manifest give the same bytes: names are sorted, times and owners are none.
    """
    listed = {name: _facts(name, path) for name, path in sorted(files.items())}
    document = json.dumps(
        {**manifest, "files": listed}, indent=1, sort_keys=True, ensure_ascii=False
    ).encode()
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as out:
            _add(out, MANIFEST, len(document), False)
            out.write(document + bytes(-len(document) % _BLOCK))
            for name, facts in listed.items():
                _add(out, name, facts["size"], facts["executable"])
                _copy_in(out, name, files[name], facts["size"])
            out.write(bytes(2 * _BLOCK))
            out.flush()
            os.fsync(out.fileno())
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    return hashlib.sha256(document).hexdigest()


def _facts(name: str, path: Path) -> dict[str, Any]:
    try:
        check_name(name)
        name.encode("ascii")
        _split(name)
    except ValueError:
        raise InvalidInput(
            f"{path}: its name does not fit into a bundle", "use short ASCII names, without '..'"
        ) from None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(file.fileno()).st_size
    return {"sha256": digest, "size": size, "executable": bool(path.stat().st_mode & 0o100)}


def _copy_in(out: BinaryIO, name: str, path: Path, size: int) -> None:
    copied = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            out.write(chunk)
            copied += len(chunk)
    if copied != size:
        raise InvalidInput(f"{path}: it changed while it was read", "try again")
    out.write(bytes(-size % _BLOCK))


def _add(out: BinaryIO, name: str, size: int, executable: bool) -> None:
    if size > _LARGEST_SIZE:
        raise InvalidInput(f"{name}: larger than 8 GB", "leave it out of the course")
    out.write(_header(name, size, executable))


def _header(name: str, size: int, executable: bool) -> bytes:
    prefix, rest = _split(name)
    fields = [
        rest.encode().ljust(100, b"\0"),
        b"0000755\0" if executable else b"0000644\0",
        b"0000000\0" * 2,
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,
        b"0",
        bytes(100),
        b"ustar\x0000",
        bytes(32 + 32),
        b"0000000\0" * 2,
        prefix.encode().ljust(155, b"\0"),
        bytes(12),
    ]
    header = b"".join(fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _split(name: str) -> tuple[str, str]:
    """A long name in ustar's two fields, at a slash. Raises ``ValueError`` when it does not fit."""
    if len(name) <= _LONGEST_NAME:
        return "", name
    cut = name.rfind("/", 0, _LONGEST_PREFIX + 1)
    if cut <= 0 or len(name) - cut - 1 > _LONGEST_NAME:
        raise ValueError("too long")
    return name[:cut], name[cut + 1 :]


# --- reading ------------------------------------------------------------------------------------------------------


class Bundle:
    """An open bundle that has been verified whole: every byte of every file is what the manifest says.

    ``digest`` is the manifest's own SHA-256, which therefore stands for the whole. Raises ``InvalidInput`` that names
    the file inside and what is wrong with it.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self.path = file, path
        members = _Members(file, path)
        first = next(members, None)
        if first is None or first.name != MANIFEST:
            raise InvalidInput(f"{path}: this is no bundle: {MANIFEST} is not in front", "make it again")
        self.manifest, self.digest = self._read_manifest(first)
        listed = self.manifest["files"]
        self.members: dict[str, Member] = {}
        for member in members:
            if member.name in self.members or member.name == MANIFEST:
                raise self.wrong(member.name, "it is there twice")
            if member.name not in listed:
                raise self.wrong(member.name, "the manifest does not name it")
            self._verify(member, listed[member.name])
            self.members[member.name] = member
        for name in listed:
            if name not in self.members:
                raise self.wrong(name, "it is missing")

    def wrong(self, name: str, cause: str) -> InvalidInput:
        """The refusal of a file inside."""
        shown = name if name.isprintable() else ascii(name)
        return InvalidInput(
            f"{self.path}: {shown[:200]}: {cause}; nothing was installed", "get the bundle again"
        )

    def below(self, folder: str) -> dict[str, Member]:
        """The files of a folder inside, by their names below it."""
        start = f"{folder}/"
        return {
            name.removeprefix(start): member
            for name, member in self.members.items()
            if name.startswith(start)
        }

    def extract(self, member: Member, target: Path) -> None:
        """Write a file's bytes to the new file ``target``; those on disk may have changed since, so they are hashed again."""
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o755 if self.manifest["files"][member.name]["executable"] else 0o644
        descriptor = os.open(
            target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
        )
        digest = hashlib.sha256()
        with os.fdopen(descriptor, "wb") as out:
            for chunk in self._chunks(member):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != self.manifest["files"][member.name]["sha256"]:
            raise self.wrong(member.name, "it changed while it was read")

    def _chunks(self, member: Member) -> Iterator[bytes]:
        self._file.seek(member.offset)
        left = member.size
        while left:
            chunk = self._file.read(min(_CHUNK, left))
            if not chunk:
                raise self.wrong(member.name, "the file ends inside it: it was cut")
            left -= len(chunk)
            yield chunk

    def _verify(self, member: Member, facts: Any) -> None:
        if member.size != facts["size"]:
            raise self.wrong(
                member.name, f"it has {member.size} bytes, and the manifest says {facts['size']}"
            )
        digest = hashlib.sha256()
        for chunk in self._chunks(member):
            digest.update(chunk)
        if digest.hexdigest() != facts["sha256"]:
            raise self.wrong(member.name, "its digest is not the manifest's: it was changed")

    def _read_manifest(self, member: Member) -> tuple[dict[str, Any], str]:
        if member.size > LARGEST_MANIFEST:
            raise self.wrong(MANIFEST, f"larger than {LARGEST_MANIFEST >> 20} MB")
        data = b"".join(self._chunks(member))
        try:
            manifest = json.loads(data)
        except (ValueError, RecursionError):
            raise self.wrong(MANIFEST, "it cannot be read") from None
        files = manifest.get("files") if isinstance(manifest, dict) else None
        if not isinstance(files, dict) or len(files) > MOST_FILES:
            raise self.wrong(MANIFEST, f"it lists no files, or more than {MOST_FILES}")
        for name, facts in files.items():
            if not (
                isinstance(facts, dict)
                and isinstance(facts.get("sha256"), str)
                and _DIGEST.fullmatch(facts["sha256"])
                and type(facts.get("size")) is int
                and isinstance(facts.get("executable"), bool)
            ):
                raise self.wrong(name, "its line in the manifest is not valid")
        return manifest, hashlib.sha256(data).hexdigest()


class _Members:
    """The headers of a bundle, one after another; each is followed by its bytes, which are passed over."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self._path = file, path
        self._next = self._count = 0
        self._last = _BEGINNING
        self._end = os.fstat(file.fileno()).st_size

    def __iter__(self) -> _Members:
        return self

    def __next__(self) -> Member:
        self._file.seek(self._next)
        header = self._file.read(_BLOCK)
        if header == bytes(_BLOCK):
            if self._file.read(_BLOCK + 1) != bytes(_BLOCK):
                raise self._wrong(f"after {self._last}: it does not end as a bundle does")
            raise StopIteration
        if len(header) < _BLOCK:
            raise self._wrong(f"after {self._last}: the file ends, it was cut")
        self._count += 1
        if self._count > MOST_FILES + 1:
            raise self._wrong(f"more than {MOST_FILES} files")
        member = self._parsed(header)
        if member.offset + member.size > self._end:
            raise self._wrong(f"{member.name}: the file ends inside it: it was cut")
        self._last = member.name
        self._next = member.offset + member.size + (-member.size % _BLOCK)
        return member

    def _parsed(self, header: bytes) -> Member:
        """What a header says; only one that the writer would have written is taken."""
        try:
            rest, prefix = _text(header[:100]), _text(header[345:500])
            name = f"{prefix}/{rest}" if prefix else rest
            size = int(header[124:135], 8)
            executable = header[100:108] == b"0000755\0"
            check_name(name)
            if header != _header(name, size, executable):
                raise ValueError("not as written")
        except ValueError:
            if self._last == _BEGINNING:
                raise self._wrong("this is no bundle of a course") from None
            raise self._wrong(
                f"after {self._last}: a header is not valid: no plain file, or it was changed"
            ) from None
        return Member(name, self._next + _BLOCK, size, executable)

    def _wrong(self, cause: str) -> InvalidInput:
        return InvalidInput(f"{self._path}: {cause}; nothing was installed", "get the bundle again")


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("ascii")
