"""The build cache: what each step made, by the content that went into it. It also says what must not be collected."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multios.errors import Unavailable
from multios.model.image import Descriptor
from multios.store.manifest import Layer

MOST_STEPS = 4000
LARGEST_LAYERS = 20 << 30
"""Bytes of compressed layers; beyond either bound the steps used least lately go."""

_VERSION = 1
_NEEDED = """WITH RECURSIVE needed (id) AS (SELECT chain FROM step WHERE chain != '' UNION
    SELECT parent FROM chain JOIN needed ON chain.id = needed.id WHERE parent != '')"""
_SCHEMA = """
CREATE TABLE step (key TEXT PRIMARY KEY, chain TEXT NOT NULL, media_type TEXT NOT NULL, digest TEXT NOT NULL,
    size INTEGER NOT NULL, diff_id TEXT NOT NULL, created REAL NOT NULL, used REAL NOT NULL);
CREATE TABLE chain (id TEXT PRIMARY KEY, parent TEXT NOT NULL);
CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL, used REAL NOT NULL);
"""


def key_of(*parts: Any) -> str:
    """One key for everything that a step depends on: JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CachedStep:
    """What a step made; ``layer`` is ``None`` where it changed only the config. ``created`` in seconds since the epoch."""

    layer: Layer | None
    created: float


class BuildCache:
    """``cache.db``. Safe from any thread; a lost or damaged one only costs time, so it is made anew."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._path = path
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError:
            for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                name.unlink(missing_ok=True)
            try:
                self._connection = self._open()
            except sqlite3.DatabaseError as error:
                raise Unavailable(f"{path} cannot be made: {error}", "free some disk space") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            self._path.chmod(0o600)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise sqlite3.DatabaseError("another version's")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    # --- steps ------------------------------------------------------------------------------------

    def find(self, key: str) -> CachedStep | None:
        """What the step with this key made, if it is known."""
        with self._lock:
            row = self._connection.execute(
                "UPDATE step SET used = ? WHERE key = ? RETURNING media_type, digest, size, diff_id, created",
                (time.time(), key),
            ).fetchone()
        if row is None:
            return None
        media_type, digest, size, diff_id, created = row
        layer = Layer(Descriptor(media_type, digest, size), diff_id) if digest else None
        return CachedStep(layer, created)

    def remember(self, key: str, step: CachedStep, chains: Sequence[str]) -> None:
        """Keep what a step made; ``chains`` are the chain IDs of all layers up to it, lowest first."""
        blob = step.layer.blob if step.layer else Descriptor("", "", 0)
        diff_id = step.layer.diff_id if step.layer else ""
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(key, chains[-1] if chains else "", blob.media_type, blob.digest, blob.size, diff_id),
                    *(step.created, time.time()),
                ),
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO chain VALUES (?, ?)", zip(chains, ["", *chains], strict=False)
            )
            self._bound()

    def forget(self, key: str) -> None:
        """Drop a step, whose layer turned out to be lost; absent is no error."""
        with self._lock:
            self._connection.execute("DELETE FROM step WHERE key = ?", (key,))

    def _bound(self) -> None:
        """Drop what was used least lately, until both bounds hold."""
        count, size = self._connection.execute("SELECT count(*), total(size) FROM step").fetchone()
        is_full = count > MOST_STEPS or size > LARGEST_LAYERS
        while count > MOST_STEPS or size > LARGEST_LAYERS:
            row = self._connection.execute(
                "DELETE FROM step WHERE key = (SELECT key FROM step ORDER BY used LIMIT 1) RETURNING size"
            ).fetchone()
            count, size = count - 1, size - row[0]
        if is_full:
            self._connection.execute(f"{_NEEDED} DELETE FROM chain WHERE id NOT IN (SELECT id FROM needed)")

    # --- notes --------------------------------------------------------------------------------------

    def note(self, key: str) -> str:
        """A fact that is dear to find out, empty when it is not known."""
        with self._lock:
            row = self._connection.execute(
                "UPDATE note SET used = ? WHERE key = ? RETURNING value", (time.time(), key)
            ).fetchone()
        return str(row[0]) if row else ""

    def write_note(self, key: str, value: str) -> None:
        """Keep such a fact."""
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO note VALUES (?, ?, ?)", (key, value, time.time())
            )
            self._connection.execute(
                "DELETE FROM note WHERE key IN (SELECT key FROM note ORDER BY used DESC LIMIT -1 OFFSET ?)",
                (MOST_STEPS,),
            )

    # --- garbage ------------------------------------------------------------------------------------

    def kept_digests(self) -> Iterable[str]:
        """The blobs that cached steps made."""
        return self._texts("SELECT DISTINCT digest FROM step WHERE digest != ''")

    def kept_chains(self) -> Iterable[str]:
        """The chain IDs that cached steps made, and those that they stand on."""
        return self._texts(f"{_NEEDED} SELECT id FROM needed")

    def _texts(self, query: str) -> list[str]:
        with self._lock:
            return [row[0] for row in self._connection.execute(query)]

    def empty(self) -> int:
        """Forget every step; how many there were."""
        with self._lock:
            count = self._connection.execute("DELETE FROM step").rowcount
            self._connection.execute("DELETE FROM note")
            self._connection.execute("DELETE FROM chain")
        return count
