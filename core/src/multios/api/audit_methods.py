"""``audit.*``: reading the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multios.api.audit import AuditLog
from multios.errors import Refused

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class Audit:
    """``audit.*``"""

    prefix = "audit"

    def __init__(self, engine: Engine) -> None:
        self._log = AuditLog(engine.settings.logging.audit)

    def list(self, call: Call) -> Any:
        if not call.caller.is_administrator:
            raise Refused("the audit log is for administrators", "ask the administrator")
        for entry in self._log.read(call.moment("since"), call.text("user", "")):
            call.item(entry)
        return {}
