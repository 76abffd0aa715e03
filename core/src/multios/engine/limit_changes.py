"""Limits asked for at create or by update, before any driver sees them: completed, checked, and how to undo them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from multios.cgroups import memory_limits
from multios.model.container import Resources, merged


def completed(asked: Resources, under: Resources) -> tuple[Resources, Resources]:
    """``asked`` with what follows from it, and the two merged; ``InvalidInput`` where they contradict each other.

    Memory without a limit takes the limit of memory and swap with it: the kernel keeps the first below the second.
    """
    if asked.memory_limit == -1 and asked.memory_swap is None:
        asked = replace(asked, memory_swap=-1)
    together = merged(asked, under)
    limit = -1 if together.memory_limit is None else together.memory_limit
    memory_limits.check(limit, together.memory_swap)
    return asked, together


def inverse(change: Resources, before: Resources) -> Resources:
    """What takes ``change`` back: the limit of ``before``, or none where it had none."""
    taken_back: dict[str, Any] = {}
    for item in fields(Resources):
        new, old = getattr(change, item.name), getattr(before, item.name)
        if new is not None:
            taken_back[item.name] = old if old is not None else "" if item.name == "cpuset" else -1
    if change.hugepages is not None:
        taken_back["hugepages"] = {size: (before.hugepages or {}).get(size, -1) for size in change.hugepages}
    return Resources(**taken_back)
