"""The engine's rows in SQLite: one connection, one writer, records as JSON.

Only the daemon opens it. Rows are written through at once (WAL, no fsync a row: a crash of the process
loses nothing, a crash of the host is reconciled with the kernel's state at the next start).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from multios.errors import Conflict, Unavailable
from multios.model.container import Container
from multios.model.json import from_json, to_json
from multios.model.network import Endpoint, Network
from multios.model.volume import NamedVolume

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE container (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
CREATE TABLE network (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
CREATE TABLE endpoint (
    id TEXT PRIMARY KEY, container TEXT NOT NULL, network TEXT NOT NULL, address TEXT NOT NULL,
    record TEXT NOT NULL, UNIQUE (network, address));
CREATE TABLE volume (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
CREATE TABLE id_range (start INTEGER PRIMARY KEY, container TEXT NOT NULL UNIQUE);
"""
"""Names are unique for an owner: the column holds ``OWNER/NAME``, since version 2."""
FROM_VERSION_1 = "".join(
    f"UPDATE {table} SET name = json_extract(record, '$.owner') || '/' || name;"
    for table in ("container", "network", "volume")
)

Row = TypeVar("Row", Container, Network, NamedVolume)
_TABLES: dict[type, str] = {Container: "container", Network: "network", NamedVolume: "volume"}


class Database:
    """``state.db``. Every method is safe from any thread and is one transaction."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise Unavailable(f"{path} cannot be read: {error}", "restore it, or move it away") from error
        if version == 0:
            self._connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif version == 1:
            self._connection.executescript(
                f"BEGIN; {FROM_VERSION_1} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
        elif version != SCHEMA_VERSION:
            raise Conflict(
                f"{path} has schema {version}, this version reads {SCHEMA_VERSION}",
                "use the version of multios-core that wrote it, or another data_root",
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def all(self, kind: type[Row]) -> list[Row]:
        """Every row of a kind, in order of insertion."""
        rows = self._read(f"SELECT record FROM {_TABLES[kind]} ORDER BY rowid")
        return [from_json(kind, json.loads(row[0])) for row in rows]

    def save(self, row: Container | Network | NamedVolume) -> None:
        """Insert or replace a row by id; a name that another row of its owner has raises ``Conflict``."""
        statement = (
            f"INSERT INTO {_TABLES[type(row)]} (id, name, record) VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET name = excluded.name, record = excluded.record"
        )
        try:
            self._write(statement, (row.id, f"{row.owner}/{row.name}", json.dumps(to_json(row))))
        except sqlite3.IntegrityError:
            raise Conflict(
                f"the {_TABLES[type(row)]} name {row.name!r} is in use", "choose another name"
            ) from None

    def delete(self, kind: type[Row], row_id: str) -> None:
        """Delete a row; an absent one is no error."""
        self._write(f"DELETE FROM {_TABLES[kind]} WHERE id = ?", (row_id,))

    # --- endpoints: no address twice on a network ---------------------------------------------

    def endpoints(self, network_id: str = "", container_id: str = "") -> list[Endpoint]:
        """Endpoints on a network, of a container, or all."""
        rows = self._read(
            "SELECT record FROM endpoint WHERE (? = '' OR network = ?) AND (? = '' OR container = ?)",
            (network_id, network_id, container_id, container_id),
        )
        return [from_json(Endpoint, json.loads(row[0])) for row in rows]

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """Insert; an address that is taken on the network raises ``Conflict``."""
        values = (endpoint.id, endpoint.container_id, endpoint.network_id, endpoint.address)
        try:
            self._write(
                "INSERT INTO endpoint (id, container, network, address, record) VALUES (?, ?, ?, ?, ?)",
                (*values, json.dumps(to_json(endpoint))),
            )
        except sqlite3.IntegrityError:
            raise Conflict(f"address {endpoint.address} is in use on this network") from None

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Delete; absent is no error."""
        self._write("DELETE FROM endpoint WHERE id = ?", (endpoint_id,))

    # --- id ranges: no host id for two containers ------------------------------------------------

    def take_id_range(self, container_id: str, first: int, size: int, count: int) -> int | None:
        """The start of the lowest free range among ``count`` ranges of ``size`` from ``first``; ``None``: all taken."""
        with self._transaction() as cursor:
            taken = {row[0] for row in cursor.execute("SELECT start FROM id_range")}
            for number in range(count):
                start = first + number * size
                if start not in taken:
                    cursor.execute("INSERT INTO id_range VALUES (?, ?)", (start, container_id))
                    return start
        return None

    def free_id_range(self, container_id: str) -> None:
        """Give a container's range back; absent is no error."""
        self._write("DELETE FROM id_range WHERE container = ?", (container_id,))

    def id_range_holders(self) -> set[str]:
        """The ids of the containers that hold a range."""
        return {row[0] for row in self._read("SELECT container FROM id_range")}

    # --- the connection ---------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self._lock:
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")  # it may fail too: no space left
            except BaseException:
                if self._connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self._connection.execute(statement, values)

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()
