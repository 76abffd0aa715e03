"""``quotas.*``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multios.errors import Refused

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class Quotas:
    """``quotas.*``"""

    prefix = "quotas"

    def __init__(self, engine: Engine) -> None:
        self._quotas = engine.quotas

    def list(self, call: Call) -> Any:
        everyone = call.flag("all")
        if everyone and not call.caller.is_administrator:
            raise Refused("the quotas of others are for administrators", "leave out --all")
        return self._quotas.rows(call.caller, everyone)
