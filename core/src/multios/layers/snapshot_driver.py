"""What storage drivers have in common that keep their snapshots in directories, by :class:`SnapshotStore`."""

from __future__ import annotations

import contextlib
import os
import stat
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from multios.drivers.base import Capability, DriverContext
from multios.drivers.storage import DiskLimit, Snapshot, StorageDriver, Usage
from multios.errors import Conflict
from multios.filesystems import sized
from multios.filesystems.bounds import FILE, PROJECT_QUOTA, SIZED_FILESYSTEM, Bounds
from multios.layers.copying import copy_tree
from multios.layers.pack import xattrs
from multios.layers.snapshots import Record, SnapshotStore
from multios.layers.trees import remove_tree, usage
from multios.model.mount import Backing, Mount


class DirectorySnapshots(StorageDriver):
    """Base of drivers whose snapshot is a directory; they add ``fill``, ``view``, ``mounts`` and ``diff``.

    A snapshot's files stand in ``fs`` inside its own directory; a view has none. Those of a limited one may stand in
    a filesystem of their own, which is a file in that directory, until it is committed.
    """

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        self.store = SnapshotStore(context.state)
        self._bounds = Bounds(self.store.state)

    def close(self) -> None:
        """Let go of the state directory; what is being deleted is deleted first."""
        self.store.close()

    def files(self, record: Record) -> str:
        """The directory of the snapshot's files."""
        return self.store.directory(record) + "/fs"

    @abstractmethod
    def fill(self, directory: str, parent: str) -> None:
        """Make the content of a writable snapshot of ``parent``, empty for none, in the empty ``directory``."""

    def prepare(self, key: str, parent: str = "") -> tuple[Mount, ...]:
        """See :class:`StorageDriver`."""
        with self.store.making(key, parent, "active") as directory:
            self.fill(directory, parent)
        return self.mounts(key)

    def limit_means(self) -> str:
        """See :class:`StorageDriver`."""
        return self._bounds.means()

    def prepare_limited(self, key: str, parent: str, size: int) -> tuple[Mount, ...]:
        """See :class:`StorageDriver`."""
        return self._make_limited(key, parent, size, lambda directory: self.fill(directory, parent))

    def _make_limited(
        self, key: str, parent: str, size: int, fill: Callable[[str], None]
    ) -> tuple[Mount, ...]:
        taken = {record.project for record in self.store.records()}
        with (
            self._bounds.project(size, taken) as project,
            self.store.making(key, parent, "active", limit=size, project=project) as directory,
            self._bounds.filling(directory, size, project) as inside,
        ):
            fill(inside)
        return self.mounts(key)

    def fill_like(self, directory: str, parent: str, files: str, only: Sequence[str]) -> None:
        """:meth:`fill`, with the changes in ``files``, another snapshot's of ``parent``: see :meth:`duplicate`.

        For drivers with the capability EXCHANGE.
        """
        raise self._no_exchange()

    def duplicate(self, key: str, source: str, only: Sequence[str] = ()) -> tuple[Mount, ...]:
        """See :class:`StorageDriver`."""
        record = self.store.get(source)
        with self.reached(record) as files:
            if record.limit:
                return self._make_limited(
                    key,
                    record.parent,
                    record.limit,
                    lambda directory: self.fill_like(directory, record.parent, files, only),
                )
            with self.store.making(key, record.parent, "active") as directory:
                self.fill_like(directory, record.parent, files, only)
        return self.mounts(key)

    def exchange(self, first: str, second: str) -> None:
        """See :class:`StorageDriver`."""
        if Capability.EXCHANGE not in self.capabilities:
            raise self._no_exchange()
        self.store.exchange(first, second)

    def limit(self, key: str, size: int) -> None:
        """See :class:`StorageDriver`."""
        record = self.store.get(key)
        if not record.limit:
            raise Conflict(
                "it was made without a disk limit, which cannot be added later",
                "commit it, and create another from that image with --disk-limit",
            )
        self._bounds.change(self.store.directory(record), record.limit, size, record.project)
        self.store.limited(key, size)

    def limit_of(self, key: str) -> DiskLimit | None:
        """See :class:`StorageDriver`."""
        record = self.store.get(key)
        if not record.limit:
            return None
        inodes = self._bounds.inodes(self.store.directory(record), record.limit, record.project)
        return DiskLimit(record.limit, inodes, PROJECT_QUOTA if record.project else SIZED_FILESYSTEM)

    def backing(self, record: Record) -> Backing | None:
        """The filesystem of its own that the snapshot's files stand in, if they do."""
        if not record.limit or record.project:
            return None
        return Backing(f"{self.store.directory(record)}/{FILE}", record.limit)

    @contextlib.contextmanager
    def reached(self, record: Record) -> Iterator[str]:
        """The directory of the snapshot's files, wherever they stand, for as long as the block runs."""
        backing = self.backing(record)
        if backing is None:
            yield self.files(record)
            return
        with sized.mounted(backing.file, backing.limit) as root:
            yield f"/proc/self/fd/{root}/fs"

    def commit(self, name: str, key: str) -> None:
        """See :class:`StorageDriver`. What is immutable needs no limit: it leaves its own filesystem."""
        record = self.store.get(key)
        backing = self.backing(record)
        if backing is None:
            self.store.commit(name, key)
            self._bounds.unbind(record.project)
            return
        files = self.files(record)
        remove_tree(os.fsencode(files))  # of a commit that a kill has cut short
        try:
            os.mkdir(files, 0o700)
            with self.reached(record) as inside:
                copy_tree(os.fsencode(inside), os.fsencode(files), marks=True)
            self.store.commit(name, key)
        except BaseException:
            remove_tree(os.fsencode(files))
            raise
        with contextlib.suppress(OSError):
            os.unlink(backing.file)

    def remove(self, key: str) -> None:
        """See :class:`StorageDriver`. The files are deleted in the background."""
        record = self.store.find(key)
        self.store.remove(key)
        if record is not None:
            self._bounds.unbind(record.project)

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
        backing = self.backing(record)
        if backing is not None:
            with sized.mounted(backing.file, backing.limit) as root:
                return Usage(*sized.used(root))
        return Usage(*usage(os.fsencode(self.files(record))))


def copy_directories(files: str, target: str, names: Sequence[str]) -> None:
    """Put the directories called ``names`` of ``files`` in the place of ``target``'s; what is none is left out."""
    for name in names:
        source, place = os.fsencode(f"{files}/{name}"), os.fsencode(f"{target}/{name}")
        if not os.path.isdir(source) or os.path.islink(source):
            continue
        remove_tree(place)
        os.mkdir(place, 0o700)
        copy_tree(source, place, marks=True)


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
