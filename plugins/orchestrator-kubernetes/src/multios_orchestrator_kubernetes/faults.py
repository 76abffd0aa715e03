"""What an API server answers that is no success, in a user's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Refused, Unavailable

_QUOTA = re.compile(r"exceeded quota: ([^,]+), requested: (.*?), used: (.*?), limited: (.*)")
_MANAGER = re.compile(r'conflict with "([^"]*)"')
_LONGEST = 600
_TRANSIENT = (429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is no success: a ``Status`` of the API, or the little that a proxy says."""

    status: int
    reason: str = ""
    message: str = ""
    causes: tuple[tuple[str, str], ...] = ()
    """Field and message of conflicts with other field managers."""
    retry_after: float | None = None
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_owned_by_others(self) -> bool:
        """Whether fields are in another field manager's hands."""
        return self.status == 409 and bool(self.causes)

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        being_removed = self.status == 403 and "being terminated" in self.message
        return self.status in _TRANSIENT or (self.status == 409 and not self.causes) or being_removed


def read(status: int, reason: str, body: Any, retry_after: str) -> Fault:
    """The fault that a ``Status`` object, or anything else, describes."""
    body = body if isinstance(body, Mapping) else {}
    details = body.get("details") if isinstance(body.get("details"), Mapping) else {}
    causes = details.get("causes") if isinstance(details, Mapping) else None
    conflicts = [
        (str(item.get("field", "")), str(item.get("message", "")))
        for item in (causes if isinstance(causes, list) else [])
        if isinstance(item, Mapping) and item.get("reason") == "FieldManagerConflict"
    ]
    seconds = float(retry_after) if retry_after.isdecimal() else None
    return Fault(
        status=status,
        reason=str(body.get("reason") or reason),
        message=one_line(str(body.get("message") or reason)),
        causes=tuple(conflicts),
        retry_after=seconds,
        body=body,
    )


def error(fault: Fault, what: str, context: str) -> MultiosError:
    """What ``what`` (``Deployment web``) failed with, as the user is told."""
    if fault.status == 401:
        return Refused(
            f"the cluster does not accept your credentials (context {context!r}): {fault.message}",
            f"log in again as you do for kubectl, then try: kubectl --context {context} get namespaces",
        )
    if fault.status == 403 and (match := _QUOTA.search(fault.message)):
        name, requested, used, limited = (part.strip() for part in match.groups())
        return Refused(
            f"{what}: the quota {name!r} is used up: {requested} asked for, {used} used, of {limited}",
            "remove something, ask for less, or ask the cluster's administrators for more",
        )
    if fault.status == 403:
        return Refused(f"{what}: {fault.message}", "ask the cluster's administrators for this right")
    if fault.status == 404:
        return NotFound(f"{what}: {fault.message}", "look at what there is: kubectl get all")
    if fault.is_owned_by_others:
        fields = "; ".join(
            f"{name} ({match[1] if (match := _MANAGER.search(message)) else 'unknown'})"
            for name, message in fault.causes
        )
        return Conflict(
            f"{what}: others manage these fields: {one_line(fields)}",
            "undo their change, or set force_conflicts to take the fields over",
        )
    if fault.status == 409:
        return Conflict(f"{what}: {fault.message}", "try again")
    if fault.status in (400, 422):
        return InvalidInput(f"{what}: the cluster refuses it: {fault.message}", "correct the field it names")
    return Unavailable(f"{what}: the cluster answers {fault.status}: {fault.message}", "try again later")


def one_line(text: str) -> str:
    """Text from outside as it may be shown: one line of bounded length, printable."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
