"""``apps.*``: a document is checked here, and given to the orchestrator that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multios.api.own_calls import OwnCalls
from multios.drivers.orchestrator import (
    Action,
    ApplyOptions,
    DestroyOptions,
    OrchestratorDriver,
    PlanOptions,
    Told,
)
from multios.errors import InvalidInput
from multios.model import app_document
from multios.model.app import App
from multios.model.json import to_json

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.apps import Change
    from multios.engine.engine import Engine

BURST = 10
LONGEST_WAIT = 86_400


class Apps:
    """``apps.*``"""

    prefix = "apps"

    def __init__(self, engine: Engine) -> None:
        self._apps, self._drivers = engine.apps, engine.drivers

    def list(self, call: Call) -> Any:
        return self._apps.rows(call.caller)

    def plan(self, call: Call) -> Any:
        app, orchestrator = self._asked(call), self._orchestrator(call, call.alive)
        return [to_json(action) for action in orchestrator.plan(app, orchestrator.existing(app), _plan(call))]

    def apply(self, call: Call) -> Any:
        app = self._asked(call)
        with self._apps.changing(app.name, call.caller) as change:
            orchestrator = self._orchestrator(call, lambda: change.is_wanted and call.alive())
            plan = orchestrator.plan(app, orchestrator.existing(app), _plan(call))
            orchestrator.apply(app, plan, _told(call, change), _apply(call))
        return {"changed": sum(action.verb != "keep" for action in plan)}

    def destroy(self, call: Call) -> Any:
        name = app_document.check_name(call.text("name"))
        options = DestroyOptions(call.flag("volumes"), call.number("timeout"))
        with self._apps.changing(name, call.caller, take_down=True) as change:
            self._orchestrator(call, call.alive).destroy(name, _told(call, change), options)
        return {"name": name}

    def watch(self, call: Call) -> Any:
        name = app_document.check_name(call.text("name"))
        for event in self._orchestrator(call, call.alive).watch(name):
            call.item(event)
        return {}

    def _asked(self, call: Call) -> App:
        return app_document.parse(call.params.get("app"))

    def _orchestrator(self, call: Call, alive: Callable[[], bool]) -> OrchestratorDriver:
        return self._drivers.orchestrator(call.text("orchestrator", ""), OwnCalls(call, alive))


def _told(call: Call, change: Change) -> Told:
    def told(action: Action, what: str) -> None:
        call.item({**to_json(action), "phase": what})
        if what == "begun":
            change.check()

    return told


def _plan(call: Call) -> PlanOptions:
    return PlanOptions(
        services=call.words("services"),
        scale={name: _replicas(name, count) for name, count in call.mapping("scale").items()},
        force_recreate=call.flag("force_recreate"),
        no_recreate=call.flag("no_recreate"),
        no_dependencies=call.flag("no_dependencies"),
        remove_orphans=call.flag("remove_orphans"),
        start=not call.flag("no_start"),
    )


def _replicas(name: str, count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= app_document.MOST_REPLICAS:
        raise InvalidInput(
            f"scale.{name}: {count!r} is no number of containers", f"from 0 to {app_document.MOST_REPLICAS}"
        )
    return count


def _apply(call: Call) -> ApplyOptions:
    wait = call.number("wait") or 0
    return ApplyOptions(
        start=not call.flag("no_start"),
        rate=float(call.number("rate") or 0),
        burst=call.number("burst") or BURST,
        stop_timeout=call.number("timeout"),
        wait=float(min(wait, LONGEST_WAIT)),
    )
