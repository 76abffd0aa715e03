"""What builds need of the images, by way of their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from multios.drivers.image_source import ANYHOW, FetchRequest, Progress
from multios.drivers.storage import StorageDriver
from multios.engine.images import Images, _annotated
from multios.model.image import Descriptor, Image, ImageConfig
from multios.store import manifest
from multios.store.layer_stream import chunks_of, written_by
from multios.store.manifest import Layer


class BuildImages:
    def __init__(self, images: Images) -> None:
        self._images = images

    def ensure(
        self, reference: str, progress: Progress, host_paths: bool = False, request: FetchRequest = ANYHOW
    ) -> Image:
        return self._images.ensure(reference, progress, host_paths, request)

    def layers_of(self, image: Image) -> tuple[Layer, ...]:
        return self._images.layers_of(image)

    def history_of(self, image: Image) -> tuple[Mapping[str, Any], ...]:
        return self._images.history_of(image)

    def holding(self) -> AbstractContextManager[None]:
        return self._images.holding()

    def store_layer_of(self, snapshot: str, storage: StorageDriver, latest: float | None) -> Layer:
        with written_by(lambda target: storage.diff(snapshot, target)) as tar:
            return self._images._store_layer(chunks_of(tar))

    def _fake(self, layers: Sequence[Layer]) -> Image:
        return Image(
            "", (), Descriptor("", "", 0), ImageConfig(), tuple(item.diff_id for item in layers), 0, 0
        )

    def adopt(self, layers: Sequence[Layer], storage: StorageDriver, snapshot: str) -> str:
        from multios.engine.unpacking import snapshot_key

        self._images._unpacker.adopt(self._fake(layers), storage, snapshot)
        return snapshot_key(manifest.chain_ids([item.diff_id for item in layers])[-1])

    def unpack_layers(self, layers: Sequence[Layer], storage: StorageDriver, progress: Progress) -> str:
        import multios.engine.unpacking as u

        keys = [u.snapshot_key(c) for c in manifest.chain_ids([item.diff_id for item in layers])]
        parent = ""
        for key, layer in zip(keys, layers, strict=True):
            with self._images._unpacker._locks.holding((storage.name, key)):
                if not u._exists(storage, key):
                    self._images._unpacker._unpack_layer(layer, storage, key, parent, progress)
            parent = key
        return keys[-1]

    def write(
        self,
        config: ImageConfig,
        layers: Sequence[Layer],
        history: Sequence[Mapping[str, Any]],
        references: Sequence[str],
        source: str,
        created: float,
        platform: str = "",
    ) -> Image:
        content = self._images._content
        document = {
            "created": manifest._time_text(created),
            "architecture": manifest.architecture(),
            "os": "linux",
            "config": manifest.config_json(config),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": list(history),
        }
        stored = content.put_bytes(manifest.CONFIG_TYPE, manifest._bytes(document))
        body = {
            "schemaVersion": 2,
            "mediaType": manifest.MANIFEST_TYPE,
            "config": manifest.descriptor_json(stored),
            "layers": [manifest.descriptor_json(layer.blob) for layer in layers],
        }
        descriptor = content.put_bytes(manifest.MANIFEST_TYPE, manifest._bytes(body))
        descriptor = _annotated(descriptor, source)
        for name in references:
            self._images._tag(self._images._writable_name(name), descriptor)
        if not references:
            content._store([*content._entries, descriptor])
            self._images._refresh()
        return self._images.get(stored.digest)

    def collect(self) -> None:
        pass

    def keep(self, keeper: Any) -> None:
        pass
