"""An app goes: containers, dependents first, then networks, and volumes where they shall; and a look that nothing is left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from multios.app_labels import waves
from multios.drivers.base import Calls
from multios.drivers.orchestrator import Action, DestroyOptions, Told
from multios.errors import Conflict, NotFound
from multios_orchestrator_local import existing
from multios_orchestrator_local.applying import MOST_AT_ONCE
from multios_orchestrator_local.running import stop

ROUNDS = 3
"""A container may be made by an ``up`` that is being ended; what is left after so many looks is told."""


def destroy(engine: Calls, app: str, told: Told, options: DestroyOptions) -> None:
    """Remove everything that carries the app's label."""
    for _ in range(ROUNDS):
        _remove_containers(engine, app, told, options)
        _remove_rows(engine, "network", app, told)
        if options.volumes:
            _remove_rows(engine, "volume", app, told)
        left = _left(engine, app, options)
        if not left:
            return
    raise Conflict(f"app {app!r}: left are {', '.join(left)}", "take it down once more")


def _remove_containers(engine: Calls, app: str, told: Told, options: DestroyOptions) -> None:
    for wave in waves(existing.rows(engine, app)):
        with ThreadPoolExecutor(min(MOST_AT_ONCE, len(wave)), "down") as pool:
            for done in [pool.submit(_remove, engine, row, told, options) for row in wave]:
                done.result()


def _remove(engine: Calls, row: Mapping[str, Any], told: Told, options: DestroyOptions) -> None:
    instance = existing.instance(row)
    _tell(
        told,
        Action("remove", "container", instance.name, "the app goes", instance.service, instance.number),
        lambda: _end(engine, row, told, options),
    )


def _end(engine: Calls, row: Mapping[str, Any], told: Told, options: DestroyOptions) -> None:
    stop(engine, existing.instance(row), options.stop_timeout, told)
    with contextlib.suppress(NotFound):
        engine.call("containers.delete", {"ref": row["id"], "force": True})


def _remove_rows(engine: Calls, kind: str, app: str, told: Told) -> None:
    for row in _rows(engine, kind, app):
        _tell(
            told,
            Action("remove", kind, row["name"], "the app goes"),
            partial(engine.call, f"{kind}s.remove", {"name": row["id"]}),
        )


def _rows(engine: Calls, kind: str, app: str) -> Sequence[Mapping[str, Any]]:
    return [row for row in engine.call(f"{kind}s.list") if existing.is_own(engine, row, app)]


def _tell(told: Told, action: Action, how: Callable[[], object]) -> None:
    told(action, "begun")
    with contextlib.suppress(NotFound):
        how()
    told(action, "done")


def _left(engine: Calls, app: str, options: DestroyOptions) -> list[str]:
    kinds = ["network", "volume"] if options.volumes else ["network"]
    return [
        *(f"container {row['name']}" for row in existing.rows(engine, app)),
        *(f"{kind} {row['name']}" for kind in kinds for row in _rows(engine, kind, app)),
    ]
