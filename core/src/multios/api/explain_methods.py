"""``containers.explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multios.errors import InvalidInput
from multios.explain import reading

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class ContainerExplanations:
    """``containers.*`` of what a container is made of."""

    prefix = "containers"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def explain(self, call: Call) -> Any:
        container = self._engine.registry.find(call.text("ref"), call.caller)
        parts = call.params.get("parts") or []
        if not isinstance(parts, list) or not all(isinstance(name, str) for name in parts):
            raise InvalidInput(
                "containers.explain: 'parts' must be a list of text", "use a client of the same version"
            )
        return reading.document(container, self._engine, parts)
