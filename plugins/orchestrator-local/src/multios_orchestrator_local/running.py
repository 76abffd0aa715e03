"""A container of an app starts and stops, with the commands that its service runs then."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from multios.app_hooks import after_start, before_stop
from multios.drivers.base import Calls
from multios.drivers.orchestrator import Action, Told
from multios.errors import Conflict, NotFound
from multios.model.app import Instance


def start(engine: Calls, ref: str, labels: Mapping[str, str]) -> None:
    """Start a container, and run its ``post_start``; where that fails it is stopped, and that raised."""
    engine.call("containers.start", {"ref": ref})
    after_start(engine.call, ref, labels)


def stop(engine: Calls, instance: Instance, timeout: int | None, told: Told) -> None:
    """End a container's run with its stop signal; one that is gone or ended is no error.

    Its ``pre_stop`` is run before; a failure of that is told.
    """
    if instance.status in ("running", "paused"):
        if instance.status == "running":
            _before_stop(engine, instance, told)
        with contextlib.suppress(NotFound, Conflict):
            engine.call("containers.stop", {"ref": instance.id, "timeout": timeout})


def restart(engine: Calls, instance: Instance, timeout: int | None, told: Told) -> None:
    """Both, in this order."""
    if instance.status == "running":
        _before_stop(engine, instance, told)
    engine.call("containers.restart", {"ref": instance.id, "timeout": timeout})
    after_start(engine.call, instance.id, instance.labels)


def _before_stop(engine: Calls, instance: Instance, told: Told) -> None:
    if error := before_stop(engine.call, instance.id, instance.labels):
        about = Action(
            "remove", "container", instance.name, "it is stopped", instance.service, instance.number
        )
        told(about, error.cause)
