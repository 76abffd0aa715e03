"""An overlay's upper directory as an OCI layer."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from multios.layers.pack import LayerWriter, walk, xattrs

_OPAQUE = (b"trusted.overlay.opaque", b"user.overlay.opaque")
"""The second with the mount option ``userxattr``."""


def pack_upper(upper: str, below: str, target: BinaryIO, latest: float | None = None) -> None:
    """Write what ``upper`` changed; ``below`` is the root directory under it, empty for none.

    A character device 0:0 is a whiteout, a directory with ``trusted.overlay.opaque`` (or ``user.``) an opaque one. The root
    itself is part of the layer only where it differs from the one below. An empty ``upper`` changed nothing.
    """
    writer = LayerWriter(target, latest)
    if upper:
        base = os.fsencode(upper)
        if not below or _looks(base) != _looks(os.fsencode(below)):
            writer.add(base, b"")
        for path, name, status in walk(base):
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                writer.whiteout(name)
                continue
            writer.add(path, name, status)
            if stat.S_ISDIR(status.st_mode) and _is_opaque(path):
                writer.opaque(name)
    writer.close()


def _looks(path: bytes) -> tuple[int, int, int, dict[bytes, bytes]]:
    status = os.stat(path)
    return status.st_mode, status.st_uid, status.st_gid, xattrs(path)


def _is_opaque(path: bytes) -> bool:
    return any(_attribute(path, name) == b"y" for name in _OPAQUE)


def _attribute(path: bytes, name: bytes) -> bytes:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return b""
