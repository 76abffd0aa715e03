"""Every container of an app back to its beginning, or to a state that was kept. Volumes stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from multios.app_labels import waves
from multios.drivers.base import Calls
from multios.drivers.orchestrator import Action, Told
from multios.errors import Conflict, MultiosError, NotFound
from multios_orchestrator_local import existing
from multios_orchestrator_local.applying import MOST_AT_ONCE
from multios_orchestrator_local.running import start, stop


def snapshot(engine: Calls, app: str, name: str, told: Told) -> None:
    """Keep the state of all under ``name``; where one fails, none is kept."""
    rows = _rows(engine, app)
    kept: list[dict[str, Any]] = []
    try:
        for row in rows:
            engine.call("containers.snapshot", {"ref": row["id"], "snapshot": name})
            kept.append(row)
            told(_action(row, "keep", f"its state is kept as {name}"), "done")
    except MultiosError:
        for row in kept:
            engine.call("containers.remove_snapshot", {"ref": row["id"], "snapshot": name})
        raise


def reset(engine: Calls, app: str, to: str, told: Told) -> None:
    """End all, dependents first, put all back side by side, and start again what ran, dependents last."""
    ordered = waves(_rows(engine, app))
    if to:
        for row in (row for wave in ordered for row in wave):
            _check_kept(engine, row, to)
    ran = [[row for row in wave if row["status"] == "running"] for wave in ordered]
    for wave in ran:
        _side_by_side(wave, lambda row: stop(engine, existing.instance(row), 0, told))
    _side_by_side(
        [row for wave in ordered for row in wave],
        lambda row: engine.call("containers.reset", {"ref": row["id"], "to": to}),
    )
    for wave in reversed(ran):
        _side_by_side(wave, lambda row: start(engine, row["id"], row["labels"]))
    for row in (row for wave in ordered for row in wave):
        told(_action(row, "restart", f"back to {to}" if to else "back to its beginning"), "done")


def _check_kept(engine: Calls, row: Mapping[str, Any], to: str) -> None:
    names = [item["name"] for item in engine.call("containers.snapshots", {"ref": row["id"]})]
    if to not in names:
        raise NotFound(
            f"container {row['name']!r} has no snapshot {to!r}", f"there are: {', '.join(names) or 'none'}"
        )


def _rows(engine: Calls, app: str) -> list[dict[str, Any]]:
    rows = existing.rows(engine, app)
    if not rows:
        raise NotFound(f"there is no app {app!r}", "see `multios-container app ls --all`")
    if not all(existing.service_of(row) for row in rows):
        raise Conflict(f"app {app!r} has containers of no service", "remove them first")
    return rows


def _side_by_side(rows: list[dict[str, Any]], do: Callable[[Mapping[str, Any]], object]) -> None:
    if rows:
        with ThreadPoolExecutor(min(MOST_AT_ONCE, len(rows)), "reset") as pool:
            for done in [pool.submit(do, row) for row in rows]:
                done.result()


def _action(row: Mapping[str, Any], verb: str, reason: str) -> Action:
    instance = existing.instance(row)
    return Action(verb, "container", instance.name, reason, instance.service, instance.number)
