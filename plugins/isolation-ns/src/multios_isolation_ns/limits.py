"""What a host permits of what was asked: cgroup limits of the spec, rlimits, capabilities."""

from __future__ import annotations

import logging
import resource
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from multios.errors import Unsupported
from multios.model.container import Resources

log = logging.getLogger(__name__)
_ALL_DEVICES = ({"allow": True, "access": "rwm"},)


def of_spec(section: Mapping[str, Any], asked: Resources) -> tuple[Resources, Sequence[Mapping[str, Any]]]:
    """The limits and device rules of ``linux.resources``; what ``asked`` already has goes before."""
    known = {"devices", "memory", "cpu", "pids"}
    for key in sorted(set(section) - known):
        if section[key]:
            raise Unsupported(
                f"linux.resources.{key} of the runtime spec", f"known are {', '.join(sorted(known))}"
            )
    memory, cpu, pids = (section.get(key) or {} for key in ("memory", "cpu", "pids"))
    _only("memory", memory, "limit", "swap")
    _only("cpu", cpu, "shares", "quota", "period", "cpus")
    _only("pids", pids, "limit")
    quota = cpu.get("quota")
    found = {
        "memory_limit": memory.get("limit"),
        "memory_swap": memory.get("swap"),
        "cpu_shares": cpu.get("shares"),
        "cpuset": cpu.get("cpus"),
        "cpu_limit": quota / (cpu.get("period") or 100_000) if quota and quota > 0 else None,
        "pids_limit": pids.get("limit"),
    }
    missing = {key: value for key, value in found.items() if value and getattr(asked, key) is None}
    return replace(asked, **missing), section.get("devices") or _ALL_DEVICES


def permitted(rlimits: Sequence[Sequence[int]], pid: int, raising: bool = True) -> list[list[int]]:
    """The rlimits as process ``pid`` may set them itself.

    A hard limit above the process's is raised from here if the host lets us, else brought down and logged.
    """
    return [_one_limit(number, soft, hard, pid, raising) for number, soft, hard in rlimits]


def available(sets: Mapping[str, int], user_namespace: bool) -> dict[str, int]:
    """The capabilities without those that the host itself lacks; a user namespace has all of its own."""
    if user_namespace:
        return dict(sets)
    host = _bounding_set()
    if sets["bounding"] & ~host:
        log.warning("this host lacks capabilities 0x%x that a container asked for", sets["bounding"] & ~host)
    return {name: bits & host for name, bits in sets.items()}


def _one_limit(number: int, soft: int, hard: int, pid: int, raising: bool) -> list[int]:
    now_soft, now_hard = resource.prlimit(pid, number)
    if _within(hard, now_hard):
        return [number, soft, hard]
    if raising:
        try:
            resource.prlimit(pid, number, (now_soft, hard))
            return [number, soft, hard]
        except (PermissionError, ValueError):
            pass
    log.warning("rlimit %d: %d was asked for, this host permits %d", number, hard, now_hard)
    return [number, soft if _within(soft, now_hard) else now_hard, now_hard]


def _within(value: int, bound: int) -> bool:
    return bound < 0 or 0 <= value <= bound


def _bounding_set() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd:"))


def _only(key: str, section: Mapping[str, Any], *known: str) -> None:
    for name in sorted(set(section) - set(known)):
        if section[name]:
            raise Unsupported(
                f"linux.resources.{key}.{name} of the runtime spec", f"known are {', '.join(known)}"
            )
