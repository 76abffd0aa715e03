"""What openat2(2) does with ``RESOLVE_IN_ROOT`` and ``RESOLVE_BENEATH``, for kernels before 5.6 that lack it.

The path is walked name by name with descriptors. ``..`` goes back to the descriptor that we came from, never to what
the kernel says is above, and symbolic links are expanded here: whatever is renamed meanwhile, no step leaves the root.
"""

from __future__ import annotations

import errno
import os
import stat

from multios.supervisor import flags

_MOST_LINKS = 40
"""As the kernel's own MAXSYMLINKS; path_resolution(7)."""
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_rooted(directory: int, path: str, options: int, resolve: int, mode: int = 0) -> int:
    """Open ``path`` below ``directory`` (a descriptor, or ``AT_FDCWD``); the descriptor is the caller's.

    ``options`` are O_*; ``resolve`` is RESOLVE_* and must hold IN_ROOT or BENEATH. Raises ``OSError`` as the kernel does:
    EXDEV for a way out of BENEATH, ELOOP for too many links or one under RESOLVE_NO_SYMLINKS.
    """
    if not resolve & (flags.RESOLVE_IN_ROOT | flags.RESOLVE_BENEATH):
        raise OSError(errno.EINVAL, "openat2: only IN_ROOT and BENEATH are done without it", path)
    if not path:
        raise OSError(errno.ENOENT, "openat2: No such file or directory", path)
    walk = _Walk(directory, path, resolve)
    try:
        return walk.open(options, mode)
    finally:
        walk.close()


class _Walk:
    """``_trail`` is the descriptors from the root to where we stand; ``_names`` what is still to be walked, last first."""

    def __init__(self, directory: int, path: str, resolve: int) -> None:
        top = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=_or_none(directory))
        self._trail = [top]
        self._names: list[str] = []
        self._path, self._resolve, self._links = path, resolve, 0
        self._push(path)

    def close(self) -> None:
        """Let go of all of the way."""
        for descriptor in self._trail:
            os.close(descriptor)

    def open(self, options: int, mode: int) -> int:
        """Walk to the last name and open that as asked."""
        while self._names:
            name = self._names.pop()
            if name == "..":
                self._up()
            elif self._names:
                self._into(name)
            elif (opened := self._last(name, options, mode)) is not None:
                return opened
        return os.open(".", options & ~os.O_CREAT, mode, dir_fd=self._trail[-1])

    def _push(self, path: str) -> None:
        """Put the names of a path, or of a link's text, before what is left."""
        if path.startswith("/"):
            if self._resolve & flags.RESOLVE_BENEATH:
                raise OSError(errno.EXDEV, "openat2: Invalid cross-device link", self._path)
            while len(self._trail) > 1:
                os.close(self._trail.pop())
        names = [name for name in path.split("/") if name not in ("", ".")]
        if path.endswith(("/", "/.")) and not self._names and names:
            names.append(".")  # what stands before must be a directory
        self._names.extend(reversed(names))

    def _up(self) -> None:
        if len(self._trail) > 1:
            os.close(self._trail.pop())
        elif self._resolve & flags.RESOLVE_BENEATH:
            raise OSError(errno.EXDEV, "openat2: Invalid cross-device link", self._path)

    def _into(self, name: str) -> None:
        """Stand on ``name``, or expand it where it is a link."""
        if name == ".":
            return
        step = os.open(name, _STEP, dir_fd=self._trail[-1])
        try:
            kind = os.fstat(step).st_mode
            if stat.S_ISLNK(kind):
                self._expand(os.readlink("", dir_fd=step))
            elif stat.S_ISDIR(kind):
                self._trail.append(step)
                step = -1
            else:
                raise OSError(errno.ENOTDIR, "openat2: Not a directory", self._path)
        finally:
            if step >= 0:
                os.close(step)

    def _last(self, name: str, options: int, mode: int) -> int | None:
        """Open the last name; ``None`` when it was a link, whose text is to be walked now."""
        if name == ".":
            return os.open(".", options & ~os.O_CREAT, mode, dir_fd=self._trail[-1])
        if not options & os.O_NOFOLLOW:
            try:
                text = os.readlink(name, dir_fd=self._trail[-1])
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOENT):
                    raise
            else:
                if options & os.O_CREAT and options & os.O_EXCL:
                    raise OSError(errno.EEXIST, "openat2: File exists", self._path)
                self._expand(text)
                return None
        # O_NOFOLLOW always: should the name become a link between the look and now, it is refused, not followed.
        return os.open(name, options | os.O_NOFOLLOW, mode, dir_fd=self._trail[-1])

    def _expand(self, text: str) -> None:
        self._links += 1
        if self._links > _MOST_LINKS or self._resolve & flags.RESOLVE_NO_SYMLINKS:
            raise OSError(errno.ELOOP, "openat2: Too many levels of symbolic links", self._path)
        self._push(text)


def _or_none(directory: int) -> int | None:
    return None if directory == flags.AT_FDCWD else directory
