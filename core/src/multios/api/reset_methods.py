"""``containers.reset`` and the snapshots of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine
    from multios.model.container import Container


class ContainerResets:
    """``containers.*`` of what puts a container back."""

    prefix = "containers"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _find(self, call: Call) -> Container:
        return self._engine.registry.find(call.text("ref"), call.caller)

    def reset(self, call: Call) -> Any:
        container = self._find(call)
        self._engine.resets.reset(container, call.text("to", ""), call.flag("keep_home"))
        return {"id": container.id}

    def snapshot(self, call: Call) -> Any:
        container = self._find(call)
        self._engine.resets.snapshot(container, call.text("snapshot"))
        return {"id": container.id}

    def snapshots(self, call: Call) -> Any:
        return self._engine.resets.snapshots(self._find(call))

    def remove_snapshot(self, call: Call) -> Any:
        container = self._find(call)
        self._engine.resets.remove_snapshot(container, call.text("snapshot"))
        return {"id": container.id}
