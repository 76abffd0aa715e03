"""Storage drivers: snapshots of root filesystems, by key and parent.

A snapshot is *active* (``prepare``: writable), a *view* (``view``: read-only) or *committed*
(``commit``: immutable, may be a parent). Keys are opaque text of ``[A-Za-z0-9:._-]``, at most 128
characters, chosen by the engine; anything else is :class:`~multios.errors.InvalidInput`. The model is
containerd's snapshotter.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from multios.drivers.base import Driver
from multios.errors import Unsupported
from multios.model.mount import Mount


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``kind`` is ``active``, ``view`` or ``committed``; ``parent`` is empty for none."""

    key: str
    parent: str
    kind: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a snapshot itself takes on disk, without its parents."""

    size: int
    inodes: int


@dataclass(frozen=True, slots=True)
class DiskLimit:
    """``size`` bytes and ``inodes`` files at most, kept by ``means``, a few words for people."""

    size: int
    inodes: int
    means: str


class StorageDriver(Driver):
    """Contract. Every method may be called from several threads; calls for one key are not concurrent.

    A call that fails, or a process killed in its middle, leaves no half snapshot: the key then either
    does not exist or is complete. Missing keys raise :class:`~multios.errors.NotFound`, taken ones
    :class:`~multios.errors.Conflict`.
    """

    kind: ClassVar[str] = "storage"

    @abstractmethod
    def prepare(self, key: str, parent: str = "") -> tuple[Mount, ...]:
        """Make a writable snapshot on committed ``parent`` (empty: on nothing) and return its mounts."""

    def limit_means(self) -> str:
        """What would keep a disk limit, for people: "project quota". Capability QUOTA; since 0.1.

        ``Unsupported`` says why this driver, or this host, can keep none. Quick; nothing is changed.
        """
        raise self._no_limits()

    def prepare_limited(self, key: str, parent: str, size: int) -> tuple[Mount, ...]:
        """:meth:`prepare` a snapshot that takes at most ``size`` bytes, and a number of files that goes with it.

        Writing more fails (ENOSPC or EDQUOT) and takes nothing from anybody else. Capability QUOTA; since 0.1.
        Raises what :meth:`limit_means` does where no limit can be kept, never makes one without.
        """
        raise self._no_limits()

    def limit(self, key: str, size: int) -> None:
        """Change the limit of a snapshot that was prepared with one, also while it is mounted and written to.

        ``Conflict`` when it has none, or holds more than ``size``. Capability QUOTA; since 0.1.
        """
        raise self._no_limits()

    def limit_of(self, key: str) -> DiskLimit | None:
        """The limit of a snapshot, ``None`` without one. Since 0.1."""
        return None

    def _no_limits(self) -> Unsupported:
        return Unsupported(
            f"storage driver {self.name!r} keeps no disk limits", "use another --storage, or no --disk-limit"
        )

    @abstractmethod
    def view(self, key: str, parent: str) -> tuple[Mount, ...]:
        """Make a read-only snapshot of committed ``parent``."""

    @abstractmethod
    def mounts(self, key: str) -> tuple[Mount, ...]:
        """The mounts of an active snapshot or view, the same at every call; mount in order, the last is the root."""

    @abstractmethod
    def commit(self, name: str, key: str) -> None:
        """Turn the active snapshot ``key`` into the committed ``name``; ``key`` is gone afterwards."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove a snapshot; one that is a parent raises ``Conflict``. Removing an absent key is no error."""

    def duplicate(self, key: str, source: str, only: Sequence[str] = ()) -> tuple[Mount, ...]:
        """Make the writable snapshot ``key`` of active ``source``'s parent, with ``source``'s changes and its disk limit.

        ``only`` names directories of the root ("home"): nothing but them is taken over. ``source`` is not written
        to meanwhile. Capability EXCHANGE; since 0.1.
        """
        raise self._no_exchange()

    def exchange(self, first: str, second: str) -> None:
        """Let two active snapshots of one parent change places: each key has what the other had, both or neither.

        What is mounted stays what it is. Takes no longer for more content. Capability EXCHANGE; since 0.1.
        """
        raise self._no_exchange()

    def _no_exchange(self) -> Unsupported:
        return Unsupported(
            f"storage driver {self.name!r} cannot put one snapshot in another's place",
            "use another --storage, or delete the container and create it again",
        )

    @abstractmethod
    def stat(self, key: str) -> Snapshot:
        """What ``key`` is."""

    @abstractmethod
    def walk(self) -> Iterator[Snapshot]:
        """All snapshots, in no order."""

    @abstractmethod
    def usage(self, key: str) -> Usage:
        """What ``key`` takes on disk, itself."""

    @abstractmethod
    def diff(self, key: str, target: BinaryIO, latest: float | None = None) -> None:
        """Write what ``key`` changed against its parent to ``target`` as an OCI layer tar (image-spec, layer.md).

        Owners, hard links, extended attributes and device nodes are kept, removed files become
        whiteouts, replaced directories opaque ones. No time in it is later than ``latest``, in seconds since the
        epoch.
        """
