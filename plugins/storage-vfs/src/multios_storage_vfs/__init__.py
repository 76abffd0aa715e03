"""Storage driver ``vfs``: every snapshot is a whole copy; works everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from multios.drivers.base import Capability
from multios.layers.copying import copy_tree
from multios.layers.snapshot_driver import DirectorySnapshots, copy_directories, make_root
from multios.model.mount import Mount

if TYPE_CHECKING:
    from multios.model.health import HealthCheck


class VfsStorage(DirectorySnapshots):
    """A copy at ``prepare`` (with shared blocks where the filesystem can), a comparison at ``diff``."""

    name: ClassVar[str] = "vfs"
    summary: ClassVar[str] = "snapshots as whole copies; works on every filesystem"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.DIFF, Capability.USER_NAMESPACE, Capability.QUOTA, Capability.EXCHANGE}
    )

    def fill(self, directory: str, parent: str) -> None:
        """See :class:`DirectorySnapshots`: a copy of the parent, which counts to a limit."""
        below = self.files(self.store.get(parent)) if parent else ""
        make_root(f"{directory}/fs", below)
        if below:
            copy_tree(os.fsencode(below), os.fsencode(f"{directory}/fs"))

    def fill_like(self, directory: str, parent: str, files: str, only: Sequence[str]) -> None:
        """See :class:`DirectorySnapshots`: a snapshot is the whole tree."""
        if only:
            self.fill(directory, parent)
            copy_directories(files, f"{directory}/fs", only)
        else:
            make_root(f"{directory}/fs", files)
            copy_tree(os.fsencode(files), os.fsencode(f"{directory}/fs"))

    def view(self, key: str, parent: str) -> tuple[Mount, ...]:
        """See :class:`StorageDriver`: the parent itself, read-only."""
        self.store.get(parent)
        with self.store.making(key, parent, "view", with_directory=False):
            pass
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """See :class:`StorageDriver`."""
        record = self.store.get(key)
        if record.kind == "active":
            backing = self.backing(record)
            return (Mount("bind", "fs" if backing else self.files(record), ("rw",), backing),)
        shown = record if record.id else self.store.get(record.parent)
        return (Mount("bind", self.files(shown), ("ro",)),)

    def diff(self, key: str, target: BinaryIO, latest: float | None = None) -> None:
        """See :class:`StorageDriver`."""
        from multios_storage_vfs.compare import pack_changes

        record = self.store.get(key)
        below = self.files(self.store.get(record.parent)) if record.parent else ""
        if not record.id:
            pack_changes(below, below, record.made, target, latest)
            return
        with self.reached(record) as own:
            pack_changes(below, own, record.made, target, latest)

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """Nothing to be missing; it says what it costs."""
        from multios.model.health import Health, HealthCheck

        return (HealthCheck("vfs storage", Health.OK, "works everywhere; each container copies its image"),)
