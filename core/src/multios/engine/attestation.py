"""What a container looked like, said by the engine: its changes, exported together with a signed statement about them.

Who has the files cannot alter what the statement says, nor put other files beside it: the statement has their digest.
The signature is an HMAC with a key that only this engine has, so it is this engine that verifies it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import pwd
import secrets
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import multios
from multios.engine.changes import below, change_of, mount_points
from multios.engine.commits import frozen
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.registry import Registry
from multios.errors import InvalidInput
from multios.layers.archive import Entry, Source, entries
from multios.layers.leaving_out import leaving_out
from multios.model.container import Container
from multios.store.layer_stream import chunks_of, written_by

MOST_CHANGES = 20_000
"""So many changed paths are listed; the rest is counted."""
_LARGEST = 1 << 50
_LONGEST_BINDING = 200


class Attestation:
    """The engine's key, and what is said with it."""

    def __init__(self, key: Path, registry: Registry, containers: Containers, drivers: Drivers) -> None:
        self._file, self._registry, self._containers, self._drivers = key, registry, containers, drivers

    def attest(
        self, container: Container, paths: Sequence[str], binding: str, descriptor: int
    ) -> dict[str, Any]:
        """Write what the container changed at and below ``paths`` (empty: everywhere) as a layer's tar to ``descriptor``.

        The answer has the ``statement``, a JSON text, its ``signature`` and the ``key``'s name. ``binding`` is any short
        text of the caller's, which becomes a part of the statement. A running container is frozen meanwhile.
        """
        if len(binding) > _LONGEST_BINDING:
            raise InvalidInput("binding: too long", f"at most {_LONGEST_BINDING} characters")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            # A pipe that nobody reads would keep the container frozen.
            raise InvalidInput("the layer can be written to a file only", "copy the file afterwards")
        unwanted = _outside(paths)
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            with frozen(self._containers, container):
                changes, more = self._changes(container)
                digest, size = self._export(container, unwanted, descriptor)
        facts = {
            "schema": 1,
            "time": round(time.time(), 3),
            "engine": multios.__version__,
            "container": {"id": container.id, "name": container.name, "created": container.created},
            "owner": {"uid": container.owner, "name": _user(container.owner)},
            "image": {"reference": container.config.image, "id": container.image_id},
            "labels": dict(container.config.labels),
            "paths": list(paths),
            "layer": {"digest": digest, "size": size},
            "changes": changes,
            "changes_not_listed": more,
            "binding": binding,
        }
        statement = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return {"statement": statement, "signature": self._sign(_sha256(statement)), "key": self.key_name()}

    def verify(self, digest: str, signature: str) -> bool:
        """Whether this engine has said the statement with this SHA-256 ``digest``, in hexadecimal."""
        return hmac.compare_digest(self._sign(digest).encode(), signature.encode())

    def key_name(self) -> str:
        """A short name of the key, which says nothing of it."""
        return hashlib.sha256(b"name of " + self._key()).hexdigest()[:16]

    # --- the layer -----------------------------------------------------------------------------------

    def _changes(self, container: Container) -> tuple[list[dict[str, Any]], int]:
        storage = self._drivers.storage(container)
        unwanted = mount_points(storage, container)
        found: list[dict[str, Any]] = []
        more = 0
        with written_by(lambda target: storage.diff(container.id, target)) as tar:
            with below(storage, storage.stat(container.id).parent) as had:
                source = Source(leaving_out(chunks_of(tar), unwanted), _LARGEST, digested=False)
                for entry in entries(source):
                    digest = _digest(source, entry.size)
                    change = change_of(entry, had)
                    if change is None:
                        continue
                    if len(found) >= MOST_CHANGES:
                        more += 1
                        continue
                    found.append(_described(change.kind, change.path, entry, digest))
        return found, more

    def _export(
        self, container: Container, outside: Callable[[Entry], bool], descriptor: int
    ) -> tuple[str, int]:
        storage = self._drivers.storage(container)
        made_for_mounts = mount_points(storage, container)
        digest, size = hashlib.sha256(), 0

        def unwanted(entry: Entry) -> bool:
            return outside(entry) or (not entry.size and made_for_mounts(entry))

        with written_by(lambda target: storage.diff(container.id, target)) as tar:
            for chunk in leaving_out(chunks_of(tar), unwanted, with_content=True):
                digest.update(chunk)
                size += len(chunk)
                _write(descriptor, chunk)
        return f"sha256:{digest.hexdigest()}", size

    # --- the key -------------------------------------------------------------------------------------

    def _sign(self, digest: str) -> str:
        return hmac.new(self._key(), digest.encode(), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        """The key, made at first use: a link puts it in place whole, and of two at once one wins."""
        with suppress(FileNotFoundError):
            return self._file.read_bytes()
        temporary = self._file.with_name(f".{self._file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(32))
            os.fsync(descriptor)
            with suppress(FileExistsError):
                os.link(temporary, self._file)
        finally:
            os.close(descriptor)
            os.unlink(temporary)
        return self._file.read_bytes()


def _outside(paths: Sequence[str]) -> Callable[[Entry], bool]:
    """Whether an entry is neither at or below one of ``paths`` nor a directory on the way there."""
    wanted = []
    for path in paths:
        if not path.startswith("/") or any(part in (".", "..") for part in path.split("/")) or "\0" in path:
            raise InvalidInput(f"path {path!r} is not plain and absolute", "write it as /root/work")
        wanted.append(os.fsencode(path.strip("/")))

    def outside(entry: Entry) -> bool:
        name = entry.name.removeprefix(b"./").strip(b"/")
        inside = any(not path or name == path or name.startswith(path + b"/") for path in wanted)
        leads_there = entry.type_flag == b"5" and any(path.startswith(name + b"/") for path in wanted)
        return bool(wanted) and not inside and not leads_there

    return outside


_KINDS = {b"0": "file", b"1": "hard link", b"2": "link", b"5": "directory", b"6": "fifo"}


def _described(kind: str, path: str, entry: Entry, digest: str) -> dict[str, Any]:
    if kind == "D":
        return {"kind": "D", "path": path}
    row: dict[str, Any] = {
        "kind": kind,
        "path": path,
        "type": _KINDS.get(entry.type_flag, "device"),
        "mode": f"{entry.mode:04o}",
        "owner": f"{entry.owner}:{entry.group}",
    }
    if entry.type_flag == b"0":
        row |= {"size": entry.size, "digest": f"sha256:{digest}"}
    if entry.link:
        row["target"] = entry.link.decode("utf-8", "backslashreplace")
    return row


def _digest(source: Source, size: int) -> str:
    digest = hashlib.sha256()
    while size:
        part = source.some(size)
        if not part:
            raise InvalidInput("the layer is cut short")
        digest.update(part)
        size -= len(part)
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
