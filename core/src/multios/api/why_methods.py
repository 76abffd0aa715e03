"""``containers.why``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multios.engine import why
from multios.engine.registry import RUNNING
from multios.model.container import Counters

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
        counters = engine.watch.counters(container) if container.status in RUNNING else container.counters
        return why.explain(
            container, engine.containers, engine.drivers, engine.networks, counters or Counters(), since, last
        )
