"""``why``: what was refused inside a container, by what, and which option would allow it.

Three sources: the calls that the driver recorded, the kernel's counters of limits, and the network's counters. The
owner of a container may ask: what is told is the container's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multios.drivers.isolation import IsolationDriver, RefusedCall
from multios.engine import refused_calls, refused_limits
from multios.engine.bundle import REFUSALS
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.networks import Networks
from multios.engine.registry import RUNNING
from multios.model.container import Container, Counters

Row = Mapping[str, Any]


def explain(
    container: Container,
    containers: Containers,
    drivers: Drivers,
    networks: Networks,
    counters: Counters,
    since: float,
    last: int | None,
) -> Row:
    """``counters`` are those of its limits, live or kept. ``watching`` with the reason why not, and ``refusals``: those since a time, the ``last`` of them, oldest first.

    A row has ``what``, ``program``, ``pid`` (inside), ``count``, ``first``, ``last`` (``None``: the kernel only
    counts), ``kind``, ``reason`` and ``remedy``.
    """
    isolation = drivers.isolation(container)
    running = container.status in RUNNING
    rows = _calls(container, containers, isolation)
    rows += refused_limits.limits(container, counters)
    if running:
        rows += refused_limits.disk(container)
        for network, endpoint in networks.endpoints_of(container.id):
            hits = drivers.network(network.driver).refusals(network, endpoint)
            rows += refused_limits.network(network.name, hits)
    rows = [row for row in rows if row["last"] is None or row["last"] >= since]
    rows.sort(key=lambda row: row["last"] or 0.0)
    if last is not None:
        rows = rows[len(rows) - last :] if last < len(rows) else rows
    watching = running and isolation.watches_refusals(container.id)
    return {
        "name": container.name,
        "watching": watching,
        "not_watching": "" if watching else _why_not(container, running),
        "refusals": [_shown(row) for row in rows],
    }


def _calls(container: Container, containers: Containers, isolation: IsolationDriver) -> list[dict[str, Any]]:
    directory, confinement = containers.directory(container), containers.confinement
    held, usual = confinement.held(directory), confinement.usual_capabilities(container)
    rows = []
    for call in isolation.refused_calls(container.id, str(directory / REFUSALS)):
        guardians = confinement.guardians(container, call.call)
        why = refused_calls.reason(call, container, guardians, held, usual)
        rows.append(_of_call(call, why))
    return rows


def _of_call(call: RefusedCall, why: refused_calls.Reason) -> dict[str, Any]:
    return {
        "what": refused_calls.tried(call),
        "call": call.call,
        "errno": call.errno,
        "program": call.program,
        "pid": call.pid,
        "count": call.count,
        "first": call.first,
        "last": call.last,
        "reason": why,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    why = row["reason"]
    return row | {"kind": why.kind, "reason": why.words, "remedy": why.remedy}


def _why_not(container: Container, running: bool) -> str:
    security = container.config.security
    if security.explain == "off":
        return "it was made with --security-opt explain=false"
    if not running:
        return f"it is {container.status}"
    if security.privileged or security.seccomp_profile == "unconfined":
        return "it has no system call filter"
    return "its driver or this kernel cannot"
