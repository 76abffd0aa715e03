"""What the tests of the registry source share: drivers, stores and small images."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

from multios.drivers.base import DriverContext
from multios.model.image import Descriptor
from multios.store.content import ContentStore
from multios_image_registry import RegistrySource, Settings

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def source(directory: Path, **settings: Any) -> RegistrySource:
    """A driver that may speak plain HTTP on loopback."""
    directory.mkdir(parents=True, exist_ok=True)
    chosen = {"insecure": ("127.0.0.0/8",), "stall_timeout": 5.0, "retries": 3, **settings}
    return RegistrySource(Settings(**chosen), DriverContext(directory, directory))


def digest_of(data: bytes) -> str:
    """Its sha256 as registries write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def described(kind: str, data: bytes) -> dict[str, Any]:
    """A descriptor."""
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}


def layer(text: str, size: int = 1000) -> bytes:
    """The tar of one file of bytes that do not compress."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo(f"file-{text}")
        entry.size = size
        archive.addfile(entry, io.BytesIO(random.Random(text).randbytes(size)))
    return target.getvalue()


class SmallImage:
    """An image in memory: ``blobs`` by digest, among them the manifest's ``data``."""

    def __init__(
        self,
        layers: int = 2,
        size: int = 1000,
        architecture: str = "amd64",
        name: str = "",
        kind: str = LAYER,
    ) -> None:
        tars = [layer(f"{name}{architecture}{number}", size) for number in range(layers)]
        self.layers = [gzip.compress(tar, 1, mtime=0) if kind.endswith("gzip") else tar for tar in tars]
        rootfs = {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]}
        self.config = json.dumps(
            {"architecture": architecture, "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": rootfs}
        ).encode()
        self.manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(CONFIG, self.config),
            "layers": [described(kind, data) for data in self.layers],
        }

    @property
    def data(self) -> bytes:
        """The manifest."""
        return json.dumps(self.manifest).encode()

    @property
    def blobs(self) -> dict[str, bytes]:
        """Everything but the manifest, by digest."""
        return {digest_of(data): data for data in (self.config, *self.layers)}

    def stored(self, content: ContentStore) -> Descriptor:
        """Put it into a store."""
        for item, data in zip(self.manifest["layers"], self.layers, strict=True):
            content.put_bytes(item["mediaType"], data)
        content.put_bytes(CONFIG, self.config)
        return content.put_bytes(MANIFEST, self.data)


def index_of(*images: tuple[SmallImage, dict[str, str]]) -> bytes:
    """An index of images with their platforms."""
    entries = [{**described(MANIFEST, image.data), "platform": platform} for image, platform in images]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
