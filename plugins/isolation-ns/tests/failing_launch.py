"""The launcher with a fault at the step that the plan names: for tests only."""

from __future__ import annotations

import errno
from typing import Any

from multios_isolation_ns import launch

_fail_at = ""
_step = launch._step


def _failing_step(name: str, action: Any, *arguments: Any) -> Any:
    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, "injected", "here")

    return _step(name, broken if name == _fail_at else action, *arguments)


launch._step = _failing_step


def create(plan: dict[str, Any], descriptors: list[int]) -> None:
    global _fail_at
    _fail_at = plan["hostname"].removeprefix("fail:")
    plan["hostname"] = ""
    launch.create(plan, descriptors)


def enter(plan: dict[str, Any], descriptors: list[int]) -> None:
    global _fail_at
    _fail_at = plan["process"]["env"][-1].removeprefix("FAIL=")
    launch.enter(plan, descriptors)


execute = launch.execute
