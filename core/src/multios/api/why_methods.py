"""``containers.why``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multios.engine import why

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class ContainerRefusals:
    """``containers.*`` of what a container was refused."""

    prefix = "containers"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def why(self, call: Call) -> Any:
        engine = self._engine
        container = engine.registry.find(call.text("ref"), call.caller)
        since, last = call.moment("since"), call.number("last")
        return why.explain(container, engine.containers, engine.drivers, engine.networks, since, last)
