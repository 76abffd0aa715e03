"""``templates.*``: checked here, done by :mod:`multios.engine.templates` and its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multios.api.registry_methods import read_credentials
from multios.drivers.image_source import FetchRequest
from multios.engine.template_exchange import opened
from multios.model.json import to_json

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class Templates:
    """``templates.*``"""

    prefix = "templates"

    def __init__(self, engine: Engine) -> None:
        self._templates, self._tests = engine.templates, engine.template_tests
        self._exchange = engine.template_exchange

    def list(self, call: Call) -> Any:
        return self._templates.list(call.caller)

    def show(self, call: Call) -> Any:
        return {"lesson": self._templates.show(call.text("name"), call.caller)}

    def inspect(self, call: Call) -> Any:
        return self._templates.inspect(call.text("name"), call.texts("options"), call.caller)

    def build(self, call: Call) -> Any:
        image = self._templates.image_for(
            call.text("name"), call.texts("options"), call.progress, call.caller, call.flag("locked")
        )
        return {"image": image.references[0], "id": image.id}

    def test(self, call: Call) -> Any:
        return self._tests.run(
            call.text("name"),
            call.texts("options"),
            call.caller,
            call.progress,
            call.flag("locked"),
            lambda outcome: call.item(to_json(outcome)),
            call.alive,
        )

    # --- archives, which come and go by descriptors ------------------------------------------------------

    def validate(self, call: Call) -> Any:
        with opened(call.descriptors(1)[0], "rb") as stream:
            return self._exchange.validate(stream, _where(call))

    def import_(self, call: Call) -> Any:
        reference, shared, expected = call.text("reference", ""), call.flag("shared"), call.texts("expected")
        if reference:
            request = _request(call, 0)
            return self._exchange.fetch(reference, call.caller, request, call.progress, shared, expected)
        with opened(call.descriptors(1)[0], "rb") as stream:
            return self._exchange.bring(stream, _where(call), call.caller, shared, expected)

    def package(self, call: Call) -> Any:
        source, target = call.descriptors(2)
        with opened(source, "rb") as stream, opened(target, "wb") as file:
            return self._exchange.package(stream, _where(call), file)

    def publish(self, call: Call) -> Any:
        if not call.fds:
            call.descriptors(1)
        with opened(call.fds[0], "rb") as stream:
            return self._exchange.publish(
                stream, _where(call), call.text("reference"), _request(call, 1), call.progress
            )

    def lock(self, call: Call) -> Any:
        options = call.texts("options")
        if not call.fds:
            found = self._templates.find(call.text("name"), call.caller)
            return {"lock": self._templates.lock(found, options, call.progress)}
        with opened(call.descriptors(1)[0], "rb") as stream:
            text = self._exchange.lock(stream, _where(call), options, call.caller, call.progress)
        return {"lock": text, "left_out": []}

    def remove(self, call: Call) -> Any:
        self._exchange.remove(call.text("name"), call.caller)
        return {"name": call.text("name")}


def _where(call: Call) -> str:
    """What the user called the archive, for errors."""
    text = call.text("where", "") or "template"
    return text[:200] if text.isprintable() else "template"


def _request(call: Call, number: int) -> FetchRequest:
    """Credentials come in the descriptor with this number, if there are any."""
    given = read_credentials(call.fds[number]) if len(call.fds) > number else {}
    return FetchRequest(credentials=given, refresh=True, is_wanted=call.alive)
