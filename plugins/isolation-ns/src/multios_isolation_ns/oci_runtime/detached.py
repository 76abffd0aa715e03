"""The bundle's root and bind mounts as detached mounts, made with the caller's rights (open_tree(2)); see ``multios.supervisor.mounts``."""

from __future__ import annotations

import os

from multios.errors import InvalidInput, StepFailed
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

PROPAGATION = {
    "private": flags.MS_PRIVATE,
    "slave": flags.MS_SLAVE,
    "shared": flags.MS_SHARED,
    "unbindable": flags.MS_UNBINDABLE,
}
"""Words of config-linux.md, "Rootfs Mount Propagation", and of mount options; with an ``r`` before: all below too."""


def propagation(word: str) -> int:
    """A word as MS_* flags, MS_REC among them; 0 for no such word."""
    if word in PROPAGATION:
        return PROPAGATION[word]
    return PROPAGATION[word[1:]] | flags.MS_REC if word[:1] == "r" and word[1:] in PROPAGATION else 0


def clone(source: str | int, attributes: int, recursive: bool, spread: int, what: str) -> int:
    """A detached bind mount of ``source``; ``spread`` is its propagation. The descriptor is the caller's.

    A clone of a shared mount is a peer of it already, so MS_SHARED means: leave it so.
    """
    recursion = flags.AT_RECURSIVE if recursive else 0
    opened = -1
    try:
        opened = os.open(source, os.O_PATH | os.O_CLOEXEC) if isinstance(source, str) else os.dup(source)
        options = flags.OPEN_TREE_CLONE | flags.OPEN_TREE_CLOEXEC | flags.AT_EMPTY_PATH | recursion
        made = kernel.open_tree(opened, "", options)
        try:
            if attributes:
                kernel.mount_setattr(made, "", flags.AT_EMPTY_PATH | recursion, set_attributes=attributes)
            if not spread & flags.MS_SHARED:
                below = flags.AT_RECURSIVE if spread & flags.MS_REC else 0
                kernel.mount_setattr(
                    made, "", flags.AT_EMPTY_PATH | below, propagation=spread & ~flags.MS_REC
                )
        except BaseException:
            os.close(made)
            raise
        return made
    except FileNotFoundError:
        raise InvalidInput(f"{what}: {source}: no such file or directory", "make it first") from None
    except OSError as error:
        raise StepFailed(what, f"{source}: {error.strerror}") from error
    finally:
        if opened >= 0:
            os.close(opened)
