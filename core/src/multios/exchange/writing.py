"""Images into archives: OCI layouts that docker reads too, and docker's own."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from multios.exchange.layouts import CONTAINERD_NAME
from multios.layers.compression import decompressed
from multios.model.image import Descriptor, Image
from multios.model.reference import parse
from multios.store.content import INDEX_TYPE, REFERENCE_ANNOTATION, ContentStore
from multios.store.layer_stream import chunks_of
from multios.store.manifest import Layer, descriptor_json, read_layers

FORMATS = ("oci-archive", "docker-archive")

_BLOCK = 512
_PLAIN = "tar"


@dataclass(frozen=True, slots=True)
class Saved:
    """An image to write, under these names."""

    image: Image
    names: tuple[str, ...]


class ArchiveWriter:
    """A tar of plain files, the same for the same content. ``told`` gets the number of bytes written each time."""

    def __init__(self, target: BinaryIO, told: Callable[[int], None]) -> None:
        self._target, self._told = target, told
        self._names: set[str] = set()

    def add(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        """Write a file of ``size`` bytes, unless there is one of that name."""
        if name in self._names:
            return
        self._names.add(name)
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o644
        self._target.write(header.tobuf(tarfile.PAX_FORMAT))
        for chunk in chunks:
            self._target.write(chunk)
            self._told(len(chunk))
        self._target.write(bytes(-size % _BLOCK))

    def add_json(self, name: str, document: Any) -> None:
        """Write a document."""
        data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        self.add(name, len(data), [data])

    def close(self) -> None:
        """Write the archive's end."""
        self._target.write(bytes(2 * _BLOCK))
        self._target.flush()


def digests_of(images: Sequence[Saved], content: ContentStore) -> list[str]:
    """Every blob that these images need."""
    found = []
    for item in images:
        layers = [layer.blob.digest for layer in read_layers(content, item.image)]
        found += [item.image.manifest.digest, f"sha256:{item.image.id}", *layers]
    return list(dict.fromkeys(found))


def write_oci(images: Sequence[Saved], content: ContentStore, archive: ArchiveWriter) -> None:
    """An OCI layout, every blob as it is stored; its manifest.json lets docker and its like read it too."""
    archive.add_json("oci-layout", {"imageLayoutVersion": "1.0.0"})
    entries = [_entry(item.image.manifest, name) for item in images for name in item.names or ("",)]
    archive.add_json("index.json", {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})
    described = [
        _described(
            item,
            _blob_name(f"sha256:{item.image.id}"),
            [_blob_name(layer.blob.digest) for layer in read_layers(content, item.image)],
        )
        for item in images
    ]
    archive.add_json("manifest.json", described)
    for digest in digests_of(images, content):
        _add_blob(archive, content, digest, _blob_name(digest))
    archive.close()


def write_docker(images: Sequence[Saved], content: ContentStore, archive: ArchiveWriter) -> None:
    """Docker's archive: plain layers named by their digests, configs, and the manifest last."""
    described = []
    for item in images:
        layers = read_layers(content, item.image)
        names = [f"{layer.diff_id.removeprefix('sha256:')}.tar" for layer in layers]
        for name, layer in zip(names, layers, strict=True):
            _add_plain(archive, content, name, layer)
        config = f"{item.image.id}.json"
        _add_blob(archive, content, f"sha256:{item.image.id}", config)
        described.append(_described(item, config, names))
    archive.add_json("manifest.json", described)
    archive.close()


def _entry(manifest: Descriptor, name: str) -> dict[str, Any]:
    named = {REFERENCE_ANNOTATION: name, CONTAINERD_NAME: name} if name else {}
    return descriptor_json(Descriptor(manifest.media_type, manifest.digest, manifest.size, named))


def _described(item: Saved, config: str, layers: Sequence[str]) -> dict[str, Any]:
    tags = [name for name in item.names if not parse(name).digest]
    return {"Config": config, "RepoTags": tags, "Layers": list(layers)}


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _add_blob(archive: ArchiveWriter, content: ContentStore, digest: str, name: str) -> None:
    with content.open(digest) as blob:
        archive.add(name, content.size(digest), chunks_of(blob))


def _add_plain(archive: ArchiveWriter, content: ContentStore, name: str, layer: Layer) -> None:
    """A layer uncompressed: read twice where it is compressed, because a tar says a size before the content."""
    if layer.blob.media_type.endswith(_PLAIN):
        _add_blob(archive, content, layer.blob.digest, name)
        return
    with content.open(layer.blob.digest) as blob:
        size = sum(len(chunk) for chunk in decompressed(blob.read))
    with content.open(layer.blob.digest) as blob:
        archive.add(name, size, decompressed(blob.read))
