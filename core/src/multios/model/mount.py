"""A mount as a record: what storage emits and isolation consumes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backing:
    """A filesystem of a limited size in ``file``, an absolute host path; ``limit`` bytes of it may be used."""

    file: str
    limit: int


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount to make, in the sense of mount(2).

    ``type`` is a filesystem type or ``bind``. ``options`` are fstab-style words. For ``overlay`` they
    hold ``lowerdir=``, ``upperdir=`` and ``workdir=`` with absolute host paths (upper and work side by
    side in one directory). For ``bind``, ``source`` is an absolute host path and ``ro`` may be given.
    On disk all ids are the container's own (0 is its root): who makes the mount in a user namespace
    idmaps every layer with mount_setattr(2).

    With a ``backing`` the writable directories are no host paths but relative ones inside that filesystem, which
    is to be mounted first: ``upperdir`` and ``workdir``, or the ``source`` of a ``bind``.
    """

    type: str
    source: str
    options: tuple[str, ...] = ()
    backing: Backing | None = None

    def option(self, name: str) -> str | None:
        """The value of ``name=value`` among the options, or ``None``."""
        for word in self.options:
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
        return None


@dataclass(frozen=True, slots=True)
class IdMap:
    """Container ids 0 … ``size`` − 1 are host ids ``start`` … ``start + size`` − 1 (users and groups).

    With ``start`` 0 they are the ids of the engine's own user namespace: nothing on disk needs to be idmapped.
    """

    start: int
    size: int = 65536
