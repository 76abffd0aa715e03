"""Trees of files read and written by descriptor: what COPY and ADD are made of.

A root filesystem is untrusted: every path in it is resolved by openat2(2) with RESOLVE_IN_ROOT, so that neither
``..`` nor a symbolic link leads out; the last element is never followed where something is made.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from multios.build.context import Entry, changed_meanwhile
from multios.build.modes import ModeChange
from multios.build.stat_cache import identity as identity_of
from multios.build.wildcards import has_wildcard, name_matcher
from multios.errors import InvalidInput, NotFound, StepFailed
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

DEEPEST = 400
_CHUNK = 1 << 20
_IN_ROOT = flags.RESOLVE_IN_ROOT | flags.RESOLVE_NO_MAGICLINKS
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_CLOEXEC
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_OWN_ATTRIBUTES = ("trusted.overlay.", "user.overlay.", "security.selinux")


class Source(Protocol):
    """Where COPY reads: the context, a stage, an image."""

    def select(self, pattern: str) -> Sequence[str]:
        """The paths that a source pattern of COPY names, sorted; none when there are none."""

    def walk(self, path: str) -> Iterator[Entry]:
        """The entry at ``path`` and, below a directory, everything, sorted, parents first."""

    def open(self, path: str) -> int:
        """A descriptor to read a regular file or a directory's attributes from; the caller closes it."""

    def digest(self, entry: Entry) -> str:
        """The hex sha256 of a regular file's content."""


class RootTree:
    """A root filesystem, as a :class:`Source`; ``root`` is a descriptor that stays the caller's."""

    def __init__(self, root: int) -> None:
        self._root = root

    def select(self, pattern: str) -> Sequence[str]:
        """See :class:`Source`. A link that ``pattern`` names is followed, within the root."""
        found = [""]
        for part in [part for part in posixpath.normpath("/" + pattern).split("/") if part]:
            found = [path for parent in found for path in self._matching(parent, part)]
        return sorted(found)

    def _matching(self, parent: str, part: str) -> list[str]:
        prefix = f"{parent}/" if parent else ""
        try:
            if not has_wildcard(part):
                os.close(self._open(prefix + part, _PLACE))
                return [prefix + part]
            matches = name_matcher(part)
            directory = self._open(parent, _DIRECTORY)
        except OSError as error:
            if error.errno in _NOWHERE:
                return []
            raise
        try:
            return [prefix + name for name in sorted(os.listdir(directory)) if matches(name)]
        finally:
            os.close(directory)

    def walk(self, path: str) -> Iterator[Entry]:
        """See :class:`Source`."""
        place = self._open(path, _PLACE)
        try:
            status = os.fstat(place)
        finally:
            os.close(place)
        yield Entry(path, status)
        if stat.S_ISDIR(status.st_mode):
            directory = self._open(path, _DIRECTORY)
            try:
                yield from walk_below(directory, path, 0)
            finally:
                os.close(directory)

    def open(self, path: str) -> int:
        """See :class:`Source`."""
        return self._open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def digest(self, entry: Entry) -> str:
        """See :class:`Source`."""
        with os.fdopen(self.open(entry.path), "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _open(self, path: str, options: int) -> int:
        return kernel.openat2(self._root, path or ".", options, _IN_ROOT)


def walk_below(directory: int, path: str, depth: int) -> Iterator[Entry]:
    """Everything below an open directory, whose path is ``path``; sorted, parents first."""
    if depth > DEEPEST:
        raise InvalidInput(f"{path[:80]}…: directories are nested deeper than {DEEPEST}", "flatten them")
    for name in sorted(os.listdir(directory)):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        below = f"{path}/{name}" if path else name
        link = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else ""
        yield Entry(below, status, link)
        if stat.S_ISDIR(status.st_mode):
            inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            try:
                yield from walk_below(inner, below, depth + 1)
            finally:
                os.close(inner)


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry and where it goes, relative to the root that it is written to."""

    entry: Entry
    target: str


def content_digest(source: Source, placed: Sequence[Placed], with_owners: bool) -> str:
    """A digest of what would be copied, and where; of times it knows nothing."""
    total = hashlib.sha256()
    for item in placed:
        status = item.entry.status
        facts = [item.target, oct(status.st_mode), item.entry.link]
        if with_owners:
            facts += [str(status.st_uid), str(status.st_gid)]
        if stat.S_ISREG(status.st_mode):
            facts.append(source.digest(item.entry))
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            facts.append(str(status.st_rdev))
        total.update("\0".join(facts).encode("utf-8", "surrogateescape") + b"\n\0")
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class _Written:
    """A file with several links, where it was written first."""

    target: str
    inode: int


class TreeWriter:
    """Writes below the directory ``root``; ``owner`` and ``mode`` are what new files get, ``None`` keeps the source's."""

    def __init__(
        self, root: int, owner: tuple[int, int] | None = None, mode: ModeChange | None = None
    ) -> None:
        self._root, self._owner, self._mode = root, owner, mode
        self._times: dict[str, int] = {}
        self._links: dict[tuple[int, int], _Written] = {}
        self._linkable: dict[str, tuple[int, int]] = {}
        self._here: tuple[str, int] = ("", -1)

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._leave()

    def is_directory(self, path: str) -> bool:
        """Whether ``path`` is one in the root, links followed."""
        try:
            os.close(kernel.openat2(self._root, path or ".", _DIRECTORY, _IN_ROOT))
        except OSError as error:
            if error.errno in _NOWHERE:
                return False
            raise
        return True

    def make_directories(self, path: str) -> None:
        """As ``mkdir -p``: new ones are 0755 and ``owner``'s, else root's."""
        made = ""
        for name in [part for part in path.split("/") if part]:
            parent, made = made, f"{made}/{name}" if made else name
            if self.is_directory(made):
                continue
            place = self._directory(parent)
            try:
                os.mkdir(name, 0o755, dir_fd=place)
            except FileExistsError:
                raise NotFound(f"/{made} is no directory", "choose another destination") from None
            os.chown(name, *(self._owner or (0, 0)), dir_fd=place, follow_symlinks=False)
            self._chmod(place, name, 0o755)

    def write(self, source: Source, placed: Sequence[Placed], cancelled: Callable[[], bool]) -> None:
        """Copy every entry to its place; directories are merged, files replaced. Directories' times come last."""
        for item in placed:
            if cancelled():
                return
            try:
                self._put(source, item)
            except OSError as error:
                remedy = "free some disk space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
                raise StepFailed(f"copy /{item.target}", error.strerror or str(error), remedy) from error
        for path, mtime in reversed(self._times.items()):
            place, name = self._place(path)
            if name:
                os.utime(name, ns=(mtime, mtime), dir_fd=place, follow_symlinks=False)
        self._times.clear()

    def write_text(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of this text, with the directories above it."""
        self.make_directories(posixpath.dirname(path))
        place, name = self._place(path)
        descriptor = self._new_file(place, name, path)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
            os.fchown(descriptor, *(self._owner or (0, 0)))
            os.fchmod(descriptor, self._mode(mode, False) if self._mode else mode)
        finally:
            os.close(descriptor)

    # --- kinds ------------------------------------------------------------------------------------

    def _put(self, source: Source, item: Placed) -> None:
        kind = stat.S_IFMT(item.entry.status.st_mode)
        if kind == stat.S_IFDIR:
            self._put_directory(source, item)
            return
        if kind == stat.S_IFSOCK:
            return
        place, name = self._place(item.target)
        if not name:
            raise InvalidInput(
                f"/{item.target} is a directory, and no file can take its place", "end it with /"
            )
        if kind == stat.S_IFREG:
            self._put_file(source, item, place, name)
            return
        self._clear(place, name, item.target)
        status = item.entry.status
        if kind == stat.S_IFLNK:
            os.symlink(item.entry.link, name, dir_fd=place)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=place)
        os.chown(name, *self._owner_of(status), dir_fd=place, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            self._chmod(place, name, self._mode_of(status))
        os.utime(name, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=place, follow_symlinks=False)

    def _put_directory(self, source: Source, item: Placed) -> None:
        status = item.entry.status
        if not self.is_directory(item.target):
            place, name = self._place(item.target)
            try:
                os.mkdir(name, 0o700, dir_fd=place)
            except FileExistsError:
                raise InvalidInput(
                    f"/{item.target} is no directory, and a directory cannot take its place"
                ) from None
        directory = kernel.openat2(self._root, item.target or ".", _DIRECTORY, _IN_ROOT)
        try:
            os.fchown(directory, *self._owner_of(status))
            os.fchmod(directory, self._mode_of(status))
            self._copy_attributes(source, item.entry.path, directory)
        finally:
            os.close(directory)
        self._times[item.target] = status.st_mtime_ns

    def _put_file(self, source: Source, item: Placed, place: int, name: str) -> None:
        status = item.entry.status
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and identity in self._links and self._linked(identity, item, place, name):
            return
        descriptor = self._new_file(place, name, item.target)
        try:
            reading = source.open(item.entry.path)
            try:
                while os.sendfile(descriptor, reading, None, 1 << 30):
                    pass
                if identity_of(os.fstat(reading)) != identity_of(status):
                    raise changed_meanwhile(item.entry.path)
                os.fchown(descriptor, *self._owner_of(status))
                # After chown, which takes setuid and capabilities away.
                os.fchmod(descriptor, self._mode_of(status))
                _copy_xattrs(reading, descriptor)
            finally:
                os.close(reading)
            os.utime(descriptor, ns=(status.st_mtime_ns, status.st_mtime_ns))
            if status.st_nlink > 1:
                self._links[identity] = _Written(item.target, os.fstat(descriptor).st_ino)
                self._linkable[item.target] = identity
        finally:
            os.close(descriptor)

    def _linked(self, identity: tuple[int, int], item: Placed, place: int, name: str) -> bool:
        """Make ``item`` a link to where its file was written before, unless something else is there by now."""
        written = self._links[identity]
        if written.target == item.target:
            return True  # the same file by two ways
        directory, _, first = written.target.rpartition("/")
        origin = kernel.openat2(self._root, directory or ".", _DIRECTORY, _IN_ROOT)
        try:
            if os.stat(first, dir_fd=origin, follow_symlinks=False).st_ino != written.inode:
                return False
            self._clear(place, name, item.target)
            os.link(first, name, src_dir_fd=origin, dst_dir_fd=place, follow_symlinks=False)
        except FileNotFoundError:
            return False
        finally:
            os.close(origin)
        return True

    def _new_file(self, place: int, name: str, target: str) -> int:
        self._clear(place, name, target)
        return os.open(name, _MAKE, 0o600, dir_fd=place)

    def _copy_attributes(self, source: Source, path: str, directory: int) -> None:
        reading = source.open(path)
        try:
            _copy_xattrs(reading, directory)
        finally:
            os.close(reading)

    # --- places -----------------------------------------------------------------------------------

    def _clear(self, place: int, name: str, target: str) -> None:
        if identity := self._linkable.pop(target, None):
            del self._links[identity]
        try:
            os.unlink(name, dir_fd=place)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            raise InvalidInput(
                f"/{target} is a directory, and no file can take its place", "choose another destination"
            ) from None

    def _chmod(self, place: int, name: str, mode: int) -> None:
        """Of what has just been made, so that it is no link; there is no fchmodat(2) that does not follow."""
        os.chmod(name, mode, dir_fd=place)

    def _place(self, path: str) -> tuple[int, str]:
        """The directory above ``path``, open until the next call, and the last element."""
        parent, _, name = path.rpartition("/")
        return self._directory(parent), name

    def _directory(self, path: str) -> int:
        if self._here[1] < 0 or self._here[0] != path:
            self._leave()
            self._here = (path, kernel.openat2(self._root, path or ".", _DIRECTORY, _IN_ROOT))
        return self._here[1]

    def _leave(self) -> None:
        if self._here[1] >= 0:
            os.close(self._here[1])
            self._here = ("", -1)

    def _owner_of(self, status: os.stat_result) -> tuple[int, int]:
        return self._owner or (status.st_uid, status.st_gid)

    def _mode_of(self, status: os.stat_result) -> int:
        mode = stat.S_IMODE(status.st_mode)
        return self._mode(mode, stat.S_ISDIR(status.st_mode)) if self._mode else mode


def _copy_xattrs(reading: int, writing: int) -> None:
    with contextlib.suppress(OSError):  # a filesystem without any
        for name in os.listxattr(reading):
            if not name.startswith(_OWN_ATTRIBUTES):
                try:
                    os.setxattr(writing, name, os.getxattr(reading, name))
                except OSError as error:
                    if error.errno != errno.EOPNOTSUPP:
                        raise


@contextlib.contextmanager
def opened_directory(path: str | os.PathLike[str]) -> Iterator[int]:
    """A directory's descriptor for as long as the block runs."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
