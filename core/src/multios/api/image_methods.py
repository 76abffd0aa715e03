"""``images.*``: checked here, done by :mod:`multios.engine.images`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from multios.engine.image_filters import LIST_FILTERS, select
from multios.errors import Refused

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class Images:
    """``images.*``"""

    prefix = "images"

    def __init__(self, engine: Engine) -> None:
        self._engine, self._images = engine, engine.images

    def list(self, call: Call) -> Any:
        return [
            {
                "id": image.id,
                "references": list(image.references),
                "created": image.created,
                "size": image.size,
                "source": image.source,
                "labels": dict(image.config.labels),
                "digest": image.manifest.digest,
            }
            for image in select(self._images.list(), call.mapping("filters"), LIST_FILTERS, self._images)
        ]

    def find(self, call: Call) -> Any:
        """The id of each image that is here, by what it was called."""
        found = {reference: self._images.find(reference) for reference in call.words("references")}
        return {reference: image.id for reference, image in found.items() if image is not None}

    def inspect(self, call: Call) -> Any:
        return self._images.inspect(call.text("ref"))

    def history(self, call: Call) -> Any:
        return self._images.history(call.text("ref"))

    def tag(self, call: Call) -> Any:
        _check(call, "naming images")
        image = self._images.get(call.text("ref"))
        for name in call.words("names"):
            self._images.tag(f"sha256:{image.id}", name)
        return {"id": image.id}

    def import_(self, call: Call) -> Any:
        _check(call, "importing images")
        with os.fdopen(os.dup(call.descriptors(1)[0]), "rb") as stream:
            images = self._engine.archives.bring(
                stream,
                call.text("reference", ""),
                call.text("rootfs_name", ""),
                call.words("changes"),
                call.text("platform", ""),
                call.progress,
            )
        return {"images": [{"id": image.id, "references": list(image.references)} for image in images]}

    def save(self, call: Call) -> Any:
        with os.fdopen(os.dup(call.descriptors(1)[0]), "wb") as target:
            self._engine.archives.save(
                call.words("refs"), call.text("format", "oci-archive"), target, call.progress
            )
        return {}

    def prune(self, call: Call) -> Any:
        _check(call, "removing images")
        used = {container.image_id for container in self._engine.registry.all()}
        removed, freed = self._images.prune(call.flag("all"), call.mapping("filters"), used)
        return {"removed": list(removed), "freed": freed}

    def remove(self, call: Call) -> Any:
        return {"removed": self._engine.remove_image(call.text("ref"), call.flag("force"), call.caller)}


def _check(call: Call, what: str) -> None:
    if not call.caller.is_administrator:
        raise Refused(f"{what} is for administrators", "images are everyone's: ask one")
