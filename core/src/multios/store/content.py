"""The content store: blobs by digest and the references to them, as an OCI image layout.

The directory is a valid layout (image-spec, image-layout.md), so ``skopeo inspect oci:DIR:REFERENCE`` reads
it. Blobs are written to ``ingest/`` while they are hashed and renamed into place when whole; one process at
a time uses a store, any number of its threads.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from multios.errors import InvalidInput, MultiosError, NotFound, StepFailed
from multios.model.image import Descriptor
from multios.store.manifest import descriptor_json

REFERENCE_ANNOTATION = "org.opencontainers.image.ref.name"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_CHUNK = 1 << 20
_LARGEST_DOCUMENT = 8 << 20


class ContentStore:
    """Blobs and references below ``directory``, which is made if absent; unfinished blobs of a former process go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = directory / "blobs" / "sha256"
        self._ingest = directory / "ingest"
        self._index = directory / "index.json"
        self._lock = threading.Lock()
        self._holds = 0
        self._held: set[str] = set()
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._ingest.mkdir(exist_ok=True)
        for leftover in self._ingest.iterdir():
            leftover.unlink()
        if not (directory / "oci-layout").exists():
            self._write_file(directory / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        if not self._index.exists():
            self._write_index([])
        self._entries = self._read_index()

    # Blobs

    def put(self, media_type: str, stream: BinaryIO, expected_digest: str = "") -> Descriptor:
        """Store what ``stream`` gives; in place, and flushed to disk, only when whole.

        Raises ``InvalidInput`` when the content is not what ``expected_digest`` says, ``StepFailed`` when
        the disk is full.
        """
        if expected_digest:
            _hexadecimal(expected_digest)
        temporary = self._ingest / secrets.token_hex(8)
        digest, size = hashlib.sha256(), 0
        try:
            with temporary.open("xb") as file:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            name = digest.hexdigest()
            if expected_digest and expected_digest != f"sha256:{name}":
                raise InvalidInput(
                    f"content has digest sha256:{name} instead of {expected_digest}",
                    "it was changed or cut off on its way; fetch it again",
                )
            with self._lock:
                self._hold(f"sha256:{name}")
                temporary.rename(self._blobs / name)
            _flush_directory(self._blobs)
        except OSError as error:
            raise _disk_error("store content", error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return Descriptor(media_type, f"sha256:{name}", size)

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Store ``data``."""
        return self.put(media_type, io.BytesIO(data))

    def has(self, digest: str) -> bool:
        """Whether the blob is stored."""
        with self._lock:
            found = self._path(digest).exists()
            if found:
                self._hold(digest)
        return found

    def open(self, digest: str) -> BinaryIO:
        """The blob, to read; ``NotFound`` when it is not stored."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"no content with digest {digest}", "pull or build its image again") from None

    def size(self, digest: str) -> int:
        """The blob's size in bytes; ``NotFound`` when it is not stored."""
        with self.open(digest) as file:
            return os.fstat(file.fileno()).st_size

    def total_size(self) -> int:
        """The bytes of all blobs."""
        total = 0
        with os.scandir(self._blobs) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # collected meanwhile
                    total += entry.stat().st_size
        return total

    def read_json(self, digest: str) -> dict[str, Any]:
        """A stored JSON object, at most 8 MiB; ``InvalidInput`` when it is none."""
        with self.open(digest) as file:
            data = file.read(_LARGEST_DOCUMENT + 1)
        try:
            document = json.loads(data) if len(data) <= _LARGEST_DOCUMENT else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise InvalidInput(
                f"content {digest} is not a JSON object", "the image is damaged; fetch it again"
            )
        return document

    # References

    def tag(self, reference: str, descriptor: Descriptor) -> None:
        """Let ``reference`` name the manifest; a manifest that loses its last reference stays, without one."""
        annotations = {**descriptor.annotations, REFERENCE_ANNOTATION: reference}
        named = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations)
        with self._lock:
            entries = [item for item in self._entries if not _is_bare(item, descriptor.digest)]
            replaced = next((item for item in entries if _reference(item) == reference), None)
            entries = [item for item in entries if item is not replaced] + [named]
            self._store(_keep_unnamed(entries, replaced))

    def add(self, descriptor: Descriptor) -> None:
        """Put a manifest into the index without a reference, unless it is there."""
        with self._lock:
            if not any(item.digest == descriptor.digest for item in self._entries):
                self._store([*self._entries, descriptor])

    def untag(self, reference: str, keep: bool = False) -> bool:
        """Remove ``reference``, with ``keep`` not its manifest; whether it existed."""
        with self._lock:
            found = next((item for item in self._entries if _reference(item) == reference), None)
            if found is not None:
                entries = [item for item in self._entries if item is not found]
                self._store(_keep_unnamed(entries, found if keep else None))
        return found is not None

    def drop(self, digest: str) -> None:
        """Remove every entry of the manifest ``digest``, named or not."""
        with self._lock:
            self._store([item for item in self._entries if item.digest != digest])

    def references(self) -> dict[str, Descriptor]:
        """Every reference and what it names."""
        return {name: item for item in self.manifests() if (name := _reference(item))}

    def manifests(self) -> tuple[Descriptor, ...]:
        """The index's entries, oldest first: a manifest has one for each of its references, or one without."""
        with self._lock:
            return tuple(self._entries)

    # Garbage

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """While this lasts, what is put or found present stays, though no reference leads to it yet."""
        with self._lock:
            self._holds += 1
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1
                if not self._holds:
                    self._held.clear()

    def collect_garbage(self, keep: Iterable[str] = ()) -> list[str]:
        """Remove the blobs that neither a reference nor a digest of ``keep`` leads to; their digests."""
        with self._lock:
            needed = set(self._held)
            for digest in [*(item.digest for item in self._entries), *keep]:
                self._mark(digest, needed)
            removed = [f"sha256:{item.name}" for item in self._blobs.iterdir()]
            removed = [digest for digest in removed if digest not in needed]
            for digest in removed:
                self._path(digest).unlink(missing_ok=True)
        return removed

    def _mark(self, digest: str, needed: set[str]) -> None:
        if digest in needed and digest not in self._held:
            return
        needed.add(digest)
        path = self._path(digest)
        # Only manifests and indexes lead on, and they are small.
        if not path.exists() or path.stat().st_size > _LARGEST_DOCUMENT:
            return
        try:
            document = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return
        if isinstance(document, dict) and "schemaVersion" in document:
            needed.update(
                item["digest"] for item in [document.get("config"), *document.get("layers", ())] if item
            )
            for item in document.get("manifests", ()):
                self._mark(item["digest"], needed)

    def _hold(self, digest: str) -> None:
        if self._holds:
            self._held.add(digest)

    # Files

    def _path(self, digest: str) -> Path:
        return self._blobs / _hexadecimal(digest)

    def _read_index(self) -> list[Descriptor]:
        try:
            return [_from_json(item) for item in json.loads(self._index.read_bytes())["manifests"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"{self._index} is damaged: {error}",
                "restore it from a backup, or remove it to lose all images",
            ) from error

    def _store(self, entries: list[Descriptor]) -> None:
        self._write_index(entries)
        self._entries = entries

    def _write_index(self, entries: list[Descriptor]) -> None:
        document = {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            "manifests": [descriptor_json(item) for item in entries],
        }
        self._write_file(self._index, json.dumps(document, indent=1).encode())

    def _write_file(self, path: Path, data: bytes) -> None:
        temporary = self._ingest / secrets.token_hex(8)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            _flush_directory(path.parent)
        except OSError as error:
            raise _disk_error(f"write {path.name}", error) from error
        finally:
            temporary.unlink(missing_ok=True)


def _from_json(item: Mapping[str, Any]) -> Descriptor:
    _hexadecimal(item["digest"])
    return Descriptor(item["mediaType"], item["digest"], item["size"], dict(item.get("annotations", {})))


def _reference(item: Descriptor) -> str:
    return item.annotations.get(REFERENCE_ANNOTATION, "")


def _is_bare(item: Descriptor, digest: str) -> bool:
    return item.digest == digest and not _reference(item)


def _keep_unnamed(entries: list[Descriptor], removed: Descriptor | None) -> list[Descriptor]:
    """``entries`` and, if no other entry has its manifest, ``removed`` without its reference."""
    if removed is None or any(item.digest == removed.digest for item in entries):
        return entries
    annotations = {key: value for key, value in removed.annotations.items() if key != REFERENCE_ANNOTATION}
    return [*entries, Descriptor(removed.media_type, removed.digest, removed.size, annotations)]


def _hexadecimal(digest: str) -> str:
    """The hex part; what is no sha256 digest must never become a path."""
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        raise InvalidInput(f"{digest!r} is not a sha256 digest", "write sha256: and 64 hexadecimal digits")
    return match[1]


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(step: str, error: OSError) -> MultiosError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StepFailed(step, str(error), "free some disk space below data_root" if full else "")
