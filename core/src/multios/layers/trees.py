"""Directory trees that containers have written: of any depth, so nothing here recurses or builds long paths."""

from __future__ import annotations

import errno
import os
import secrets
import stat


def remove_tree(path: bytes) -> None:
    """Remove the directory ``path`` and all below it; absent is no error.

    Subdirectories are first moved up beside their fellows, so that paths stay short; killed half-way, all
    that is left is still below ``path``.
    """
    try:
        pending = [b""]
        while pending:
            directory = path + b"/" + pending[-1] if pending[-1] else path
            below = _empty(directory, path, pending[-1])
            if below:
                pending += below
                continue
            os.rmdir(directory)
            pending.pop()
    except FileNotFoundError:
        return


def _empty(directory: bytes, top: bytes, name: bytes) -> list[bytes]:
    """Unlink the files of ``directory`` and move its subdirectories into ``top``; where those are, seen from there."""
    found: list[bytes] = []
    with os.scandir(directory) as entries:
        listed = list(entries)
    for entry in listed:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
        elif name:
            found.append(_hoist(entry.path, top) or name + b"/" + entry.name)
        else:
            found.append(entry.name)
    return found


def _hoist(path: bytes, top: bytes) -> bytes:
    """Move the directory ``path`` into ``top``; its new name, or nothing where it cannot be moved."""
    name = b".removed-" + secrets.token_hex(8).encode()
    try:
        os.rename(path, top + b"/" + name)
    except OSError as error:
        if error.errno != errno.EXDEV:  # what an overlay's lower layers have is not moved
            raise
        return b""
    return name


def usage(path: bytes) -> tuple[int, int]:
    """Bytes on disk and inodes of ``path`` and all below it; a file of several names counts once."""
    size = inodes = 0
    seen: set[int] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        try:
            status = os.lstat(current)
            if stat.S_ISDIR(status.st_mode):
                waiting += [current + b"/" + name for name in os.listdir(current)]
            elif status.st_nlink > 1:
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
        except FileNotFoundError:  # removed by a running container
            continue
        size += status.st_blocks * 512
        inodes += 1
    return size, inodes
