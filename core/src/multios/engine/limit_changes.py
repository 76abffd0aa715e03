"""Limits asked for at create or by update, before any driver sees them: completed, checked, and how to undo them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from multios.cgroups import memory_limits
from multios.model.container import Resources, merged


def together(asked: Resources, under: Resources) -> Resources:
    """What holds when ``asked`` comes on top of ``under``; ``InvalidInput`` where memory and swap contradict each other.

    Memory without a limit takes the limit of memory and swap with it: the kernel keeps the first below the second.
    """
    result = merged(asked, under)
    if asked.memory_limit == -1 and asked.memory_swap is None:
        result = replace(result, memory_swap=None)
    memory_limits.check(-1 if result.memory_limit is None else result.memory_limit, result.memory_swap)
    return result


def inverse(change: Resources, before: Resources) -> Resources:
    """What takes ``change`` back: the limit of ``before``, or none where it had none."""
    taken_back: dict[str, Any] = {}
    for item in fields(Resources):
        new, old = getattr(change, item.name), getattr(before, item.name)
        if new is not None:
            taken_back[item.name] = old if old is not None else "" if item.name == "cpuset" else -1
    if change.memory_limit is not None:
        taken_back["memory_swap"] = before.memory_swap  # it may have gone with the memory's
    if change.hugepages is not None:
        taken_back["hugepages"] = {size: (before.hugepages or {}).get(size, -1) for size in change.hugepages}
    return Resources(**taken_back)
