"""What storage drivers have in common that keep their snapshots in directories, by :class:`SnapshotStore`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

from multios.drivers.base import DriverContext
from multios.drivers.storage import Snapshot, StorageDriver, Usage
from multios.layers.pack import xattrs
from multios.layers.snapshots import Record, SnapshotStore
from multios.layers.trees import usage


class DirectorySnapshots(StorageDriver):
    """Base of drivers whose snapshot is a directory; they add ``prepare``, ``view``, ``mounts`` and ``diff``.

    A snapshot's files stand in ``fs`` inside its own directory; a view has none.
    """

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        self.store = SnapshotStore(context.state)

    def close(self) -> None:
        """Let go of the state directory; what is being deleted is deleted first."""
        self.store.close()

    def files(self, record: Record) -> str:
        """The directory of the snapshot's files."""
        return self.store.directory(record) + "/fs"

    def commit(self, name: str, key: str) -> None:
        """See :class:`StorageDriver`."""
        self.store.commit(name, key)

    def remove(self, key: str) -> None:
        """See :class:`StorageDriver`. The files are deleted in the background."""
        self.store.remove(key)

    def stat(self, key: str) -> Snapshot:
        """See :class:`StorageDriver`."""
        return _public(self.store.get(key))

    def walk(self) -> Iterator[Snapshot]:
        """See :class:`StorageDriver`."""
        return (_public(record) for record in self.store.records())

    def usage(self, key: str) -> Usage:
        """See :class:`StorageDriver`."""
        record = self.store.get(key)
        if not record.id:
            return Usage(0, 0)
        return Usage(*usage(os.fsencode(self.files(record))))


def make_root(path: str, like: str = "") -> None:
    """Make a snapshot's root directory: 0755 and root's, or with owner, mode and attributes of ``like``."""
    os.mkdir(path, 0o755)
    if not like:
        os.chmod(path, 0o755)
        return
    status = os.stat(like)
    if status.st_uid or status.st_gid:
        os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))
    for name, value in xattrs(os.fsencode(like)).items():
        os.setxattr(path, name, value)


def _public(record: Record) -> Snapshot:
    return Snapshot(record.key, record.parent, record.kind)
