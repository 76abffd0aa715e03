"""The build context: a directory that COPY reads, without what ``.dockerignore`` leaves out.

It is somebody else's and may change meanwhile. Nothing outside it is ever read: links are resolved here, with the
context's top as their root, and what comes of that is opened with openat2(2), which then follows none.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from multios.build.ignore import Patterns, State
from multios.build.stat_cache import StatCache, identity
from multios.build.wildcards import has_wildcard, name_matcher
from multios.errors import Conflict, InvalidInput
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

DEEPEST = 400
LONGEST_PATH = 4096
MOST_ENTRIES = 1_000_000
MOST_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BELOW = flags.RESOLVE_BENEATH | flags.RESOLVE_NO_SYMLINKS
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO must not hold us up, so that it can be seen to be one.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a tree. ``path`` is relative to its top, which is itself the empty path; ``link`` is a link's text."""

    path: str
    status: os.stat_result
    link: str = ""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(slots=True)
class _Level:
    """A directory on the way down of a walk; ``untold`` is its own entry while it is not known to be needed."""

    directory: int
    names: Iterator[str]
    path: str
    state: State
    untold: Entry | None = None
    depth: int = field(default=0)


class Context:
    """The directory ``directory``, a descriptor that stays the caller's. Safe to use from several threads."""

    def __init__(
        self, directory: int, ignored: Patterns | None = None, cache: StatCache | None = None
    ) -> None:
        self._directory = directory
        self._ignored = ignored or Patterns()
        self._cache = StatCache() if cache is None else cache
        self._read: dict[str, str] = {}  # path to identity: what has been digested must not change any more

    # --- choosing -----------------------------------------------------------------------------------

    def select(self, pattern: str) -> list[str]:
        """The paths that a source of COPY names, sorted; none when there are none.

        A link is followed in the path as it is by chroot(2): ``..`` and absolute targets end at the context's top.
        """
        elements = [part for part in posixpath.normpath("/" + pattern).split("/") if part]
        found = [""]
        for element in elements:
            found = [path for above in found for path in self._matching(above, element)]
        return sorted(path for path in found if self._is_kept(path))

    def _matching(self, above: str, element: str) -> list[str]:
        prefix = f"{above}/" if above else ""
        if not has_wildcard(element):
            return [prefix + element]
        matches = name_matcher(element)
        try:
            directory = self._open_real(self._resolve(above), _DIRECTORY)
        except OSError:
            return []
        try:
            return [prefix + name for name in os.listdir(directory) if matches(name)]
        finally:
            os.close(directory)

    def _is_kept(self, path: str) -> bool:
        """Whether it is there and not left out, nor a link to what is; a directory counts for what is in it."""
        try:
            real = self._resolve(path)
            status = self._status(real)
        except OSError:
            return False
        for name in {path, real}:
            state = self._ignored.at(name)
            if not state.ignored:
                continue
            if not stat.S_ISDIR(status.st_mode) or not state.may_hold_kept:
                return False
            if next(self._below(real, real, state), None) is None:
                return False
        return True

    # --- reading ------------------------------------------------------------------------------------

    def walk(self, path: str) -> Iterator[Entry]:
        """The entry at ``path``, links followed, and all below it that is not left out: sorted, parents first.

        Raises ``InvalidInput`` when it is out of bounds and ``Conflict`` when it changes under our hands.
        """
        path = posixpath.normpath("/" + path).strip("/")
        try:
            real = self._resolve(path)
            status = self._status(real)
        except OSError as error:
            raise _unreadable(path, error) from error
        yield Entry(path, status)
        if stat.S_ISDIR(status.st_mode):
            yield from self._below(real, path, self._ignored.at(real))

    def open(self, path: str) -> int:
        """A descriptor to read a file or a directory from; the caller closes it.

        Raises ``Conflict`` for a file that is not the one any more that :meth:`digest` has read.
        """
        try:
            try:
                descriptor = self._open_real(posixpath.normpath("/" + path), _READ)
            except OSError:
                descriptor = self._open_real(self._resolve(path), _READ)
        except OSError as error:
            raise _unreadable(path, error) from error
        known = self._read.get(path)
        if known is not None and known != identity(os.fstat(descriptor)):
            os.close(descriptor)
            raise changed_meanwhile(path)
        return descriptor

    def digest(self, entry: Entry) -> str:
        """The hex sha256 of a regular file's content; read only when stat(2) says something new of it.

        Raises ``Conflict`` when the file has changed since it was listed, or changes meanwhile.
        """
        expected = identity(entry.status)
        digest = self._cache.get(entry.status)
        if not digest:
            with os.fdopen(self.open(entry.path), "rb", buffering=0) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                if identity(os.fstat(file.fileno())) != expected:
                    raise changed_meanwhile(entry.path)
            self._cache.put(entry.status, digest)
        self._read[entry.path] = expected
        return digest

    def _below(self, real: str, path: str, state: State) -> Iterator[Entry]:
        """What is below the directory ``real``, told as being below ``path``."""
        levels: list[_Level] = []
        count = 0
        try:
            levels.append(self._level(self._open_real(real, _DIRECTORY), path, state))
            while levels:
                level = levels[-1]
                name = next(level.names, None)
                if name is None:
                    os.close(levels.pop().directory)
                    continue
                count += 1
                if count > MOST_ENTRIES:
                    raise InvalidInput(
                        f"more than {MOST_ENTRIES} files in the context", "leave some out by .dockerignore"
                    )
                entry = _entry(level, name)
                if entry is None:
                    continue
                inner = level.state.enter(name)
                if not inner.ignored:
                    for above in levels:
                        if above.untold is not None:
                            yield above.untold
                            above.untold = None
                    yield entry
                if entry.is_directory and (not inner.ignored or inner.may_hold_kept):
                    opened = os.open(name, _DIRECTORY, dir_fd=level.directory)
                    levels.append(self._level(opened, entry.path, inner, level.depth + 1))
                    levels[-1].untold = entry if inner.ignored else None
        except OSError as error:
            raise _unreadable(levels[-1].path if levels else path, error) from error
        finally:
            for level in levels:
                os.close(level.directory)

    def _level(self, directory: int, path: str, state: State, depth: int = 0) -> _Level:
        try:
            if depth > DEEPEST or len(path) > LONGEST_PATH:
                raise InvalidInput(
                    f"{path[:80]}…: directories are nested too deep", f"at most {DEEPEST} levels are read"
                )
            return _Level(directory, iter(sorted(os.listdir(directory))), path, state, depth=depth)
        except BaseException:
            os.close(directory)
            raise

    # --- places -------------------------------------------------------------------------------------

    def _open_real(self, real: str, options: int) -> int:
        """Open a path that goes through no link; ``OSError`` when it does."""
        return kernel.openat2(self._directory, real.strip("/") or ".", options, _BELOW)

    def _status(self, real: str) -> os.stat_result:
        place = self._open_real(real, _PLACE)
        try:
            return os.fstat(place)
        finally:
            os.close(place)

    def _resolve(self, path: str) -> str:
        """The path without links: each is taken as if the context were the root. Raises ``OSError``."""
        done: list[str] = []
        todo = [part for part in reversed(path.split("/")) if part]
        links = 0
        while todo:
            name = todo.pop()
            if name == ".":
                continue
            if name == "..":
                del done[-1:]
                continue
            place = self._open_real("/".join([*done, name]), _PLACE)
            try:
                is_link = stat.S_ISLNK(os.fstat(place).st_mode)
                target = os.readlink("", dir_fd=place) if is_link else ""
            finally:
                os.close(place)
            if not is_link:
                done.append(name)
                continue
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                done.clear()
            todo += [part for part in reversed(target.split("/")) if part]
        return "/".join(done)


def _entry(level: _Level, name: str) -> Entry | None:
    """None for what is gone again, and for sockets, which no image holds."""
    path = f"{level.path}/{name}" if level.path else name
    try:
        status = os.stat(name, dir_fd=level.directory, follow_symlinks=False)
        link = os.readlink(name, dir_fd=level.directory) if stat.S_ISLNK(status.st_mode) else ""
    except FileNotFoundError:
        return None
    return None if stat.S_ISSOCK(status.st_mode) else Entry(path, status, link)


def _unreadable(path: str, error: OSError) -> Conflict:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Conflict(
        f"{path or '.'!r} in the build context cannot be read: {reason}",
        "build again when nothing changes it",
    )


def changed_meanwhile(path: str) -> Conflict:
    """That a file is not what it was when it was listed."""
    return Conflict(
        f"{path!r} in the build context has changed during the build", "build again when nothing changes it"
    )
