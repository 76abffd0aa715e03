"""What limits refused, in words: from the kernel's counters and the container's record; nothing had to be watched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from multios.engine.refused_calls import Reason
from multios.model.container import Container, Counters

_FULL_PARTS = 100
"""A disk is full when less than one of so many parts is free."""
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def limits(container: Container, counters: Counters) -> list[dict[str, Any]]:
    """A row for each limit that was met: ``what``, ``count``, ``reason``."""
    resources, name = container.config.resources, container.name
    rows = []
    if counters.pids_refused:
        limit = max(resources.pids_limit or 0, 0)
        words = f"pids limit of {limit}" if limit else "pids limit"
        remedy = f"update {name} --pids-limit {2 * limit or 'N'}"
        rows.append(_row("fork", counters.pids_refused, Reason("limit", words, remedy)))
    if counters.oom_kills or (container.oom_killed and counters.oom_kills is None):
        limit = max(resources.memory_limit or 0, 0)
        words = f"memory limit of {_bytes(limit)}" if limit else "no memory left"
        doubled = _bytes(2 * limit).replace(" ", "")
        remedy = f"update {name} --memory-limit {doubled}" if limit else "free memory"
        row = _row("more memory: killed", counters.oom_kills or 1, Reason("limit", words, remedy))
        rows.append(row | {"last": container.finished if container.oom_killed else None})
    if counters.throttled_periods:
        cores = resources.cpu_limit if (resources.cpu_limit or 0) > 0 else None
        seconds = (counters.throttled_nanoseconds or 0) // 1_000_000_000
        words = f"CPU limit of {cores:g} cores" if cores else "CPU limit"
        remedy = f"update {name} --cpu-limit {f'{2 * cores:g}' if cores else 'N'}"
        what = f"more CPU: held back {seconds} s in all"
        rows.append(_row(what, counters.throttled_periods, Reason("limit", words, remedy)))
    return rows


def network(name: str, hits: Mapping[str, int]) -> list[dict[str, Any]]:
    """A row when packets to places that the network ``name`` does not allow were dropped."""
    if not hits.get("egress"):
        return []
    why = Reason("network", "not in its --egress-allow", "--egress-allow ADDRESS|CIDR|NAME")
    return [_row(f"packets to other places by network {name}", hits["egress"], why)]


def disk(container: Container) -> list[dict[str, Any]]:
    """A row when the running container's root has no room left."""
    try:
        space = os.statvfs(f"/proc/{container.pid}/root") if container.pid else None
    except OSError:
        return []
    if space is None or not space.f_blocks or space.f_bavail * _FULL_PARTS >= space.f_blocks:
        return []
    whole = _bytes(space.f_blocks * space.f_frsize)
    limit = container.config.resources.disk_limit
    words = f"disk limit of {_bytes(limit)}" if limit else f"the host's disk of {whole} is full"
    remedy = (
        f"delete files inside, or update {container.name} --disk-limit SIZE"
        if limit
        else "free space on the host"
    )
    return [_row("write to /", None, Reason("limit", words, remedy))]


def _row(what: str, count: int | None, why: Reason) -> dict[str, Any]:
    return {"what": what, "count": count, "reason": why, "first": None, "last": None, "program": "", "pid": 0}


def _bytes(number: int) -> str:
    value, unit = float(number), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.4g} {UNITS[unit]}"
