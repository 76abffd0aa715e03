"""A launcher for the supervisor's tests: no root filesystem of its own, the plan says what to run."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from multios.supervisor.launcher import LaunchError


def create(plan: dict[str, Any], descriptors: list[int]) -> None:
    if "fail" in plan:
        raise LaunchError("mount", 13, "/data")
    if "die" in plan:
        os.kill(os.getpid(), 9)
        os._exit(9)
    if descriptors:
        os.write(descriptors[0], b"created")


enter = create


def execute(plan: dict[str, Any]) -> NoReturn:
    os.execve(plan["argv"][0], plan["argv"], {"PATH": "/usr/bin:/bin"})
