"""A new volume gets the files that the image has where it is mounted ("copy-up"): whole, or not at all.

In the volume's directory, which only the engine enters, lie beside ``_data``, the one that is mounted:

* ``_filling``, a copy under way; one that a crash has left is thrown away
* ``_filled``, a whole copy, whose entries are being moved into ``_data``; what a crash has left of it is moved by who comes next

A snapshot and a volume both hold the container's own ids on disk, so owners are copied as they are.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from multios.errors import StepFailed
from multios.layers.copying import copy_looks
from multios.layers.rooted_copy import copy_from_root
from multios.layers.trees import remove_tree
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

_COPYING, _WHOLE = "_filling", "_filled"
_NO_DIRECTORY = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def fill(data: Path, root: int, path: str, check: Callable[[], None]) -> bool:
    """Fill the empty ``data`` from the directory ``path`` of the root filesystem ``root``, a descriptor.

    Whether that is settled now, and :func:`clear` may follow: not where the root has no such directory. One that holds
    something is left as it is. ``check`` stops a copy by raising. Raises ``StepFailed``; then ``data`` is empty as before, or
    else :func:`go_on` must have its turn before anybody mounts it.
    """
    if go_on(data) or not _is_empty(data):
        return True
    source = _opened(root, path)
    if source is None:
        return False
    try:
        if _is_empty(source):
            copy_looks(b"/proc/self/fd/%d/." % source, os.fsencode(data), os.fstat(source))
            return True
    finally:
        os.close(source)
    _copy(data, root, path, check)
    return go_on(data)


def go_on(data: Path) -> bool:
    """Move what is left of a whole copy into ``data``, and throw away one that never became whole; whether one was whole."""
    remove_tree(os.fsencode(data.with_name(_COPYING)))
    whole = data.with_name(_WHOLE)
    try:
        status = os.stat(whole)  # before its entries leave it, which changes its time
    except FileNotFoundError:
        return False
    for name in os.listdir(whole):
        # A container that has the volume mounted already may have made one of its own.
        with contextlib.suppress(FileExistsError):
            kernel.rename_to_free(f"{whole}/{name}", f"{data}/{name}")
    copy_looks(os.fsencode(whole), os.fsencode(data), status)
    return True


def clear(data: Path) -> None:
    """Remove what :func:`fill` or :func:`go_on` still needed until it was recorded that they are done."""
    remove_tree(os.fsencode(data.with_name(_WHOLE)))


def _copy(data: Path, root: int, path: str, check: Callable[[], None]) -> None:
    side = data.with_name(_COPYING)
    side.mkdir(mode=0o700)
    try:
        target = os.open(side, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copy_from_root(root, path, target, check)
            # A power cut after the rename must not find files without their content.
            kernel.sync_filesystem(target)
        finally:
            os.close(target)
        side.rename(data.with_name(_WHOLE))
    except BaseException:
        remove_tree(os.fsencode(side))
        raise


def _opened(root: int, path: str) -> int | None:
    """The directory ``path`` as the container would find it, its links followed inside ``root``; ``None`` without one."""
    options = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return kernel.openat2(root, path, options, flags.RESOLVE_IN_ROOT | flags.RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY:
            raise StepFailed("fill volume", f"{path} of the image: {error.strerror}") from error
        return None


def _is_empty(directory: Path | int) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None
