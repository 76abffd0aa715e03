"""The bookkeeping of snapshots on disk that storage drivers share: keys, parents, directories; safe to be killed.

In a driver's state directory::

    data/<id>/          a snapshot's files, as its driver lays them out
    index/<key>.json    its record, put in place by rename(2): a snapshot exists when its record does
    trash/              what is being deleted
    lock                held by the process that uses the directory
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, StepFailed, Unsupported
from multios.layers.trash import Trash
from multios.supervisor.syscalls import kernel

log = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Za-z0-9:._-]{1,128}")
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Record:
    """A snapshot. ``id`` is its directory's name, empty for none; ``made`` the filesystem's time, in nanoseconds,
    when its directory was complete. ``limit`` are the bytes that it may have, 0 for no limit; ``project`` is the
    project whose quota it counts to, 0 for none."""

    key: str
    parent: str
    kind: str
    id: str
    made: int = 0
    limit: int = 0
    project: int = 0


class SnapshotStore:
    """The snapshots below ``state``. One process at a time; its threads as they like.

    Made while nobody else uses the directory, it first collects what a killed process left half done.
    """

    def __init__(self, state: str | os.PathLike[str]) -> None:
        self.state = os.path.abspath(state)
        self.trash = Trash(f"{self.state}/trash")
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}
        self._children: dict[str, int] = {}
        self._reserved: set[str] = set()
        for name in ("data", "index", "trash"):
            os.makedirs(f"{self.state}/{name}", mode=0o711 if name == "data" else 0o700, exist_ok=True)
        self._guard = os.open(f"{self.state}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._load(collect=self._is_alone())

    def close(self) -> None:
        """Let go of the directory."""
        self.trash.wait()
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1

    def __del__(self) -> None:
        if getattr(self, "_guard", -1) >= 0:
            os.close(self._guard)

    # --- reading ---------------------------------------------------------------------------------

    def get(self, key: str) -> Record:
        """The record of ``key``, or ``NotFound``."""
        _check(key)
        with self._lock:
            if key not in self._records:
                raise NotFound(f"no such snapshot: {key!r}")
            return self._records[key]

    def find(self, key: str) -> Record | None:
        """The record of ``key``, if there is one."""
        with self._lock:
            return self._records.get(key)

    def records(self) -> list[Record]:
        """All, as of now."""
        with self._lock:
            return list(self._records.values())

    def ancestors(self, key: str) -> list[Record]:
        """The chain of committed snapshots from ``key`` down; none for an empty key."""
        chain = []
        with self._lock:
            while key:
                chain.append(self.get(key))
                key = chain[-1].parent
        return chain

    def directory(self, record: Record) -> str:
        """The absolute path of the snapshot's own directory."""
        return f"{self.state}/data/{record.id}"

    # --- changing --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def making(
        self,
        key: str,
        parent: str,
        kind: str,
        with_directory: bool = True,
        limit: int = 0,
        project: int = 0,
    ) -> Iterator[str]:
        """Make a snapshot: the block fills the empty directory it is given, and at its end the snapshot exists.

        An exception in the block, or death, leaves nothing. The directory's path is empty without one. ``limit``
        and ``project`` are only recorded.
        """
        self._reserve(key, parent)
        identity = secrets.token_hex(6) if with_directory else ""
        path = f"{self.state}/data/{identity}" if identity else ""
        try:
            if path:
                os.mkdir(path, 0o700)
            yield path
            record = self._write(Record(key, parent, kind, identity, 0, limit, project))
            with self._lock:
                self._records[key] = record
        except BaseException as error:
            self._count(parent, -1)
            if path:
                with contextlib.suppress(OSError):
                    self.trash.put(path)
            if isinstance(error, OSError):
                raise _explained(error, key) from error
            raise
        finally:
            with self._lock:
                self._reserved.discard(key)

    def commit(self, name: str, key: str) -> None:
        """Make the active ``key`` the committed ``name``."""
        _check(name)
        with self._lock:
            record = self.get(key)
            if record.kind != "active":
                raise Conflict(f"snapshot {key!r} is {record.kind}, only an active one can be committed")
            if name in self._records or name in self._reserved:
                raise Conflict(f"a snapshot {name!r} exists already")
            try:
                self._records[name] = self._write(replace(record, key=name, kind="committed", limit=0))
                # Killed here, both stand on disk with one id: the committed one counts.
                del self._records[key]
                os.unlink(self._index(key))
            except OSError as error:
                raise _explained(error, key) from error

    def exchange(self, first: str, second: str) -> None:
        """Let two active snapshots of one parent change places: their records change names, in one step on disk."""
        with self._lock:
            one, other = self.get(first), self.get(second)
            if (one.kind, other.kind) != ("active", "active") or one.parent != other.parent:
                raise Conflict(
                    f"snapshots {first!r} and {second!r} are not two active ones of one parent",
                    "prepare one of the same parent",
                )
            try:
                kernel.exchange_names(self._index(first), self._index(second))
            except OSError as error:
                if error.errno in (errno.ENOSYS, errno.EINVAL):
                    raise Unsupported(
                        f"the filesystem of {self.state} cannot exchange two files",
                        "delete the container and create it again, or put data_root on ext4, xfs or btrfs",
                    ) from error
                raise _explained(error, first) from error
            self._records[first] = replace(other, key=first)
            self._records[second] = replace(one, key=second)

    def limited(self, key: str, limit: int) -> None:
        """Record another limit."""
        with self._lock:
            try:
                self._records[key] = self._write(replace(self.get(key), limit=limit))
            except OSError as error:
                raise _explained(error, key) from error

    def remove(self, key: str) -> None:
        """Remove a snapshot that is nobody's parent; absent is no error."""
        _check(key)
        with self._lock:
            record = self._records.get(key)
            if record is None:
                return
            if self._children.get(key):
                raise Conflict(f"snapshot {key!r} has snapshots on top of it", "remove those first")
            try:
                os.unlink(self._index(key))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise _explained(error, key) from error
            del self._records[key]
            self._count(record.parent, -1)
        if record.id:
            with contextlib.suppress(OSError):  # what stays is collected at the next start
                self.trash.put(self.directory(record))

    def _reserve(self, key: str, parent: str) -> None:
        _check(key)
        with self._lock:
            if key in self._records or key in self._reserved:
                raise Conflict(f"a snapshot {key!r} exists already")
            if parent and self.get(parent).kind != "committed":
                raise Conflict(f"snapshot {parent!r} is not committed, so nothing can stand on it")
            self._reserved.add(key)
            self._count(parent, 1)

    def _count(self, parent: str, change: int) -> None:
        if parent:
            with self._lock:
                self._children[parent] = self._children.get(parent, 0) + change
                if not self._children[parent]:
                    del self._children[parent]

    # --- on disk ---------------------------------------------------------------------------------

    def _index(self, key: str) -> str:
        return f"{self.state}/index/{key}{_SUFFIX}"

    def _write(self, record: Record) -> Record:
        temporary = f"{self.state}/index/.{secrets.token_hex(8)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                if not record.made:
                    record = replace(record, made=os.fstat(descriptor).st_mtime_ns)
                os.write(descriptor, json.dumps(asdict(record)).encode())
            finally:
                os.close(descriptor)
            os.rename(temporary, self._index(record.key))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        return record

    def _is_alone(self) -> bool:
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _load(self, collect: bool) -> None:
        """Read all records; with ``collect`` what belongs to none, or is no whole snapshot, goes."""
        found = {}
        for name in os.listdir(f"{self.state}/index"):
            record = self._read(name)
            if record is not None:
                found[record.key] = record
            elif collect:
                os.unlink(f"{self.state}/index/{name}")
        committed = {record.id for record in found.values() if record.kind == "committed"}
        halves = [
            record.key for record in found.values() if record.kind != "committed" and record.id in committed
        ]
        halves += [
            record.key for record in found.values() if record.id and not os.path.isdir(self.directory(record))
        ]
        while halves:
            for key in halves:
                if found.pop(key, None) and collect:
                    log.warning("snapshot %s is incomplete and goes", key)
                    os.unlink(self._index(key))
            halves = [record.key for record in found.values() if record.parent and record.parent not in found]
        self._records = found
        for record in found.values():
            self._count(record.parent, 1)
        if collect:
            self._collect({record.id for record in found.values()})

    def _collect(self, known: set[str]) -> None:
        for name in os.listdir(f"{self.state}/data"):
            if name not in known:
                self.trash.put(f"{self.state}/data/{name}")
        if os.listdir(self.trash.path):
            self.trash.empty()

    def _read(self, name: str) -> Record | None:
        if name.startswith(".") and not name.endswith(_SUFFIX):
            return None
        try:
            with open(f"{self.state}/index/{name}", encoding="utf-8") as file:
                record = Record(**json.load(file))
        except (OSError, ValueError, TypeError):
            return None
        # The name counts: a record that was exchanged still has the other's key written in it.
        key = name.removesuffix(_SUFFIX)
        return replace(record, key=key) if _KEY.fullmatch(key) and name.endswith(_SUFFIX) else None


def _check(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise InvalidInput(f"bad snapshot key {key!r}", "1 to 128 of A-Z a-z 0-9 : . _ -")


def _explained(error: OSError, key: str) -> MultiosError:
    remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
    return StepFailed(f"snapshot {key}", f"{error.strerror}{where}", remedy)
