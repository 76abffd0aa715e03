"""``images.*``: checked here, done by :mod:`multios.engine.images`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

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
            }
            for image in self._images.list()
        ]

    def inspect(self, call: Call) -> Any:
        return self._images.inspect(call.text("ref"))

    def import_(self, call: Call) -> Any:
        if not call.caller.is_administrator:
            raise Refused("importing images is for administrators", "images are everyone's: ask one")
        with os.fdopen(os.dup(call.descriptors(1)[0]), "rb") as stream:
            image = self._images.import_tar(
                call.text("reference"),
                stream,
                call.mapping("changes"),
                self._engine.drivers.default_storage(),
                call.progress,
            )
        return {"id": image.id}

    def remove(self, call: Call) -> Any:
        return {"removed": self._engine.remove_image(call.text("ref"), call.flag("force"), call.caller)}
