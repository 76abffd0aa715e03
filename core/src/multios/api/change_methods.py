"""``containers.diff``, ``containers.commit`` and ``images.diff``: what was changed, and images of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multios.engine import changes
from multios.engine.commits import CommitRequest, commit
from multios.errors import Refused

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class ContainerChanges:
    """``containers.*`` of a container's changes."""

    prefix = "containers"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def diff(self, call: Call) -> Any:
        container = self._engine.registry.find(call.text("ref"), call.caller)
        return _rows(changes.of_container(self._engine.drivers.storage(container), container))

    def commit(self, call: Call) -> Any:
        container = self._engine.registry.find(call.text("ref"), call.caller)
        if not call.caller.is_administrator:
            raise Refused("making images is for administrators", "images are everyone's: ask one")
        request = CommitRequest(
            reference=call.text("reference", ""),
            message=call.text("message", ""),
            author=call.text("author", ""),
            changes=call.words("changes"),
            pause=call.flag("pause"),
        )
        engine = self._engine
        image = commit(engine.images, engine.containers, engine.drivers, container, request)
        return {"id": image.id}


class ImageChanges:
    """``images.diff``"""

    prefix = "images"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def diff(self, call: Call) -> Any:
        images = self._engine.images
        image = images.get(call.text("ref"))
        return _rows(changes.of_image(images, image, self._engine.drivers.default_storage(), call.progress))


def _rows(found: list[changes.Change]) -> list[dict[str, str]]:
    return [{"kind": change.kind, "path": change.path} for change in found]
