"""Tar streams of ``cp``. What comes from a container is untrusted: nothing is written outside the target."""

from __future__ import annotations

import os
import tarfile

from multios.errors import InvalidInput, MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_MODE = 0o777
_CHUNK = 1 << 18


def pack(stream: BinaryIO, source: str, name: str) -> None:
    """Write ``source``, a file or tree, as ``name``, to a tar stream; owners are the container's root."""

    def owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.add(source.rstrip("/") or "/", arcname=name, filter=owned_by_root)


def unpack(stream: BinaryIO, target: str, contents_only: bool = False) -> None:
    """Write the one tree in a tar stream to ``target``: into it if it is a directory, else as it.

    Links that lead outside are made but never followed; device nodes are refused. ``contents_only`` takes the tree's
    contents instead of the tree.
    """
    inside = os.path.isdir(target)
    if not inside and target.endswith("/"):
        raise InvalidInput(f"{target}: no such directory", "make it first, or leave out the last slash")
    base = os.path.realpath(target if inside else os.path.dirname(os.path.abspath(target)))
    if not os.path.isdir(base):
        raise InvalidInput(f"{base}: no such directory", "make it first")
    new_name = "" if inside else os.path.basename(os.path.abspath(target))
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                path = _place(base, member.name, new_name, contents_only)
                if path is not None:
                    _write(archive, member, path, base, new_name, contents_only)
    except tarfile.TarError as error:
        raise MultiosError(f"what the container sent is no archive: {error}") from None


def _place(base: str, name: str, new_name: str, contents_only: bool) -> str | None:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or name.startswith("/"):
        raise MultiosError(
            f"the container's archive leads out of itself: {name!r}", "copy single files instead"
        )
    if contents_only:
        parts = parts[1:]
    if new_name and parts:
        parts = [new_name, *(parts if contents_only else parts[1:])]
    if not parts:
        return None
    path = os.path.join(base, *parts)
    parent = os.path.realpath(os.path.dirname(path))
    if parent != base and not parent.startswith(base.rstrip("/") + "/"):
        raise MultiosError(
            f"the container's archive goes through a link: {name!r}", "copy single files instead"
        )
    return path


def _write(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: str,
    base: str,
    new_name: str,
    contents_only: bool,
) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.isdir():
        if os.path.islink(path):
            raise MultiosError(f"{path}: is a link, not a directory", "remove it first")
        os.makedirs(path, exist_ok=True)
        os.chmod(path, member.mode & _MODE | 0o700)
        return
    if os.path.lexists(path) and not os.path.isdir(path):
        os.unlink(path)
    if member.issym():
        os.symlink(member.linkname, path)
    elif member.islnk():
        source = _place(base, member.linkname, new_name, contents_only)
        if source is None:
            raise MultiosError(f"the container's archive has a link to nothing: {member.name!r}")
        os.link(source, path, follow_symlinks=False)
    elif member.isreg():
        _write_file(archive, member, path)
    else:
        raise MultiosError(f"{member.name}: neither file, directory nor link", "copy single files instead")


def _write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    content = archive.extractfile(member)
    with os.fdopen(os.open(path, flags, member.mode & _MODE), "wb") as file:
        while content is not None and (data := content.read(_CHUNK)):
            file.write(data)
        os.fchmod(file.fileno(), member.mode & _MODE)
    os.utime(path, (member.mtime, member.mtime))
