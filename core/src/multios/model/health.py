"""What ``doctor`` reports."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Health(enum.StrEnum):
    """``SKIP``: this host cannot have it, which is no fault. ``WARN``: works, at a cost. ``FAIL``: broken."""

    OK = "ok"
    SKIP = "skip"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One finding: what was looked at, how it stands, what that means, and what to do."""

    subject: str
    health: Health
    detail: str
    remedy: str = ""
