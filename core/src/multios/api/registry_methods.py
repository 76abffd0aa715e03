"""``images.pull``: checked here, done by :mod:`multios.engine.images`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class Transfers:
    """``images.*`` that talk to an image source."""

    prefix = "images"

    def __init__(self, engine: Engine) -> None:
        self._images = engine.images

    def pull(self, call: Call) -> Any:
        image = self._images.ensure(call.text("ref"), call.progress, call.caller.is_administrator)
        return {"id": image.id}
