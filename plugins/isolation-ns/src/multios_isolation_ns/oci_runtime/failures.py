"""What a child reported, as the errors that callers know."""

from __future__ import annotations

import os

from multios.errors import CommandNotExecutable, CommandNotFound, MultiosError, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_NOT_EXECUTABLE, _NOT_FOUND = 126, 127


def failure(error: Mapping[str, Any]) -> MultiosError:
    """What a child reported, in words that podman and docker look for."""
    number, detail, status = int(error.get("errno", 0)), str(error.get("detail", "")), error.get("status")
    told = os.strerror(number).lower() if number else ""
    if status == _NOT_FOUND:
        about = "executable file not found in $PATH" if number == 2 and "/" not in detail else told
        return CommandNotFound(f'exec: "{detail}": {about}')
    if status == _NOT_EXECUTABLE:
        return CommandNotExecutable(f'exec: "{detail}": {told}')
    return StepFailed(
        str(error.get("step", "create")), ": ".join(part for part in (detail, told) if part) or "failed"
    )
