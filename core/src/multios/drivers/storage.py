"""Storage drivers: snapshots of root filesystems, by key and parent.

A snapshot is *active* (``prepare``: writable), a *view* (``view``: read-only) or *committed*
(``commit``: immutable, may be a parent). Keys are opaque text of ``[A-Za-z0-9:._-]``, at most 128
characters, chosen by the engine; anything else is :class:`~multios.errors.InvalidInput`. The model is
containerd's snapshotter.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from multios.drivers.base import Driver
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
