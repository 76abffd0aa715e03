"""How the directories below one place are kept to a size: by project quotas, else each in a filesystem of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Collection, Iterator

from multios.errors import MultiosError, StepFailed, Unsupported
from multios.filesystems import project_quota, sized
from multios.model.quantities import format_size

PROJECT_QUOTA = "project quota"
SIZED_FILESYSTEM = "sized filesystem"
FILE = "files.ext4"
"""The filesystem of a bounded directory, inside it."""


class Bounds:
    """Bounds on directories below ``state``; what the filesystem there can do is looked up once."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._means = ""

    def means(self) -> str:
        """What will bound the next directory; ``Unsupported`` where nothing can."""
        if not self._means:
            self._means = found(self._state)
        return self._means

    @contextlib.contextmanager
    def project(self, limit: int, taken: Collection[int]) -> Iterator[int]:
        """The bounded project of a new directory, 0 where it will have a filesystem of its own; unbound if the block fails."""
        if self.means() == SIZED_FILESYSTEM:
            yield 0
            return
        with self._lock:
            number = project_quota.free_project(self._state, taken)
            project_quota.bound(self._state, number, limit, inodes_for(limit))
        try:
            yield number
        except BaseException:
            self.unbind(number)
            raise

    def unbind(self, project: int) -> None:
        """Limit the project no more; 0 is none. A failure only costs that its number is not used again."""
        if project:
            with contextlib.suppress(MultiosError, OSError):
                project_quota.bound(self._state, project, 0, 0)

    @contextlib.contextmanager
    def filling(self, directory: str, limit: int, project: int) -> Iterator[str]:
        """Where the content of the empty ``directory`` is to be made."""
        try:
            if project:
                project_quota.assign(directory, project)
                yield directory
                return
            sized.make(f"{directory}/{FILE}", limit)
            with sized.mounted(f"{directory}/{FILE}", limit) as root:
                os.rmdir("lost+found", dir_fd=root)
                sized.make_spare(root)
                yield f"/proc/self/fd/{root}"
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                cause = f"it takes more than its disk limit of {format_size(limit)}"
                raise StepFailed("fill snapshot", cause, "choose a larger disk limit") from error
            raise

    def change(self, directory: str, before: int, limit: int, project: int) -> None:
        """Change a directory's limit; ``Conflict`` when it holds more."""
        if not project:
            sized.resize(f"{directory}/{FILE}", before, limit)
            return
        taken = project_quota.read(self._state, project).size
        if taken > limit:
            raise sized.too_much(taken, limit)
        project_quota.bound(self._state, project, limit, inodes_for(limit))

    def inodes(self, directory: str, limit: int, project: int) -> int:
        """How many files the directory may hold."""
        if project:
            return project_quota.read(self._state, project).inode_limit
        with sized.mounted(f"{directory}/{FILE}", limit) as root:
            return sized.inodes(root)


def found(path: str) -> str:
    """What can bound directories at ``path``; ``Unsupported`` says why nothing can."""
    if not project_quota.why_none(path):
        return PROJECT_QUOTA
    reason = sized.why_none()
    if not reason:
        return SIZED_FILESYSTEM
    raise Unsupported(
        f"no disk limit can be kept here: there are no project quotas at {path}, and no sized filesystems ({reason})",
        "install e2fsprogs and load the loop module, or mount the data root with prjquota",
    )


def inodes_for(limit: int) -> int:
    """How many files go with a limit where they are counted."""
    return max(sized.FEWEST_INODES, limit // sized.INODE_EVERY)
