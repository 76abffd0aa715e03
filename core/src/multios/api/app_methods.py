"""``apps.*``: a document is checked here, and given to the orchestrator that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multios.api.app_options import apply_options, destroy_options, plan_options
from multios.api.own_calls import OwnCalls
from multios.drivers.orchestrator import Action, OrchestratorDriver, Told
from multios.errors import MultiosError
from multios.model import app_document
from multios.model.app import App
from multios.model.json import to_json

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.apps import Change
    from multios.engine.engine import Engine


class Apps:
    """``apps.*``"""

    prefix = "apps"

    def __init__(self, engine: Engine) -> None:
        self._apps, self._drivers = engine.apps, engine.drivers

    def list(self, call: Call) -> Any:
        return self._apps.rows(call.caller)

    def plan(self, call: Call) -> Any:
        app, orchestrator = self._asked(call), self._orchestrator(call, call.alive)
        return [
            to_json(action)
            for action in orchestrator.plan(app, orchestrator.existing(app), plan_options(call.params))
        ]

    def validate(self, call: Call) -> Any:
        return {"name": self._asked(call).name}

    def apply(self, call: Call) -> Any:
        app = self._asked(call)
        with self._apps.changing(app.name, call.caller, call.alive) as change:
            orchestrator = self._orchestrator(call, change.is_wanted)
            plan = orchestrator.plan(app, orchestrator.existing(app), plan_options(call.params))
            try:
                orchestrator.apply(app, plan, _told(call, change), apply_options(call.params))
            except MultiosError:
                change.check()  # then it failed because it was ended
                raise
        return {"changed": sum(action.verb != "keep" for action in plan)}

    def destroy(self, call: Call) -> Any:
        name = app_document.check_name(call.text("name"))
        options = destroy_options(call.params)
        with self._apps.changing(name, call.caller, call.alive, take_down=True) as change:
            self._orchestrator(call, call.alive).destroy(name, _told(call, change), options)
        return {"name": name}

    def snapshot(self, call: Call) -> Any:
        name = app_document.check_name(call.text("name"))
        with self._apps.changing(name, call.caller, call.alive) as change:
            self._orchestrator(call, call.alive).snapshot(name, call.text("snapshot"), _told(call, change))
        return {"name": name}

    def reset(self, call: Call) -> Any:
        name = app_document.check_name(call.text("name"))
        with self._apps.changing(name, call.caller, call.alive) as change:
            self._orchestrator(call, call.alive).reset(name, call.text("to", ""), _told(call, change))
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
