"""Memory and swap (kernel: cgroup-v1/memory, cgroup-v2 "Memory Interface Files").

``limit`` is memory, ``total`` memory and swap together, in bytes; −1 is no limit, ``None`` stays. Unset, the total is
twice the memory, as docker has it.
"""

from __future__ import annotations

import os

from multios.cgroups.control_files import ControlFiles
from multios.cgroups.hierarchy import read
from multios.errors import Conflict, InvalidInput, Unsupported

_UNLIMITED_FROM = 1 << 62
"""Page counters on v1 read as a number near 2**63 when they are not limited."""


def check(limit: int | None, total: int | None) -> None:
    """Raise ``InvalidInput`` for a pair that says nothing."""
    if total is None or total < 0 or limit is None:
        return
    if limit < 0:
        raise InvalidInput("memory_swap is limited, memory_limit is not", "limit both, or neither")
    if total < limit:
        raise InvalidInput("memory_swap is smaller than memory_limit", "it is memory and swap together")


def limit(files: ControlFiles, limit: int | None, total: int | None) -> None:
    """Write both in the order that the kernel takes; ``Conflict`` where more than a lowered limit is in use."""
    check(limit, total)
    if max(limit or -1, total or -1) < 0 and not files.hierarchy.path("memory", files.name):
        return  # nothing is to be limited, and nothing can be
    directory = files.directory("memory", "memory_limit" if limit is not None else "memory_swap")
    if limit is not None and limit < 0:
        total = -1
    if "memory" in files.hierarchy.v1:
        _limit_v1(files, directory, limit, total)
    else:
        _limit_v2(files, directory, limit, total)


def _limit_v1(files: ControlFiles, directory: str, limit: int | None, total: int | None) -> None:
    limit_file, total_file = (f"{directory}/memory.{name}limit_in_bytes" for name in ("", "memsw."))
    if not os.path.exists(total_file):
        if total is not None and total >= 0:
            raise _no_swap_accounting()
        if limit is not None:
            files.write(limit_file, str(limit), "memory_limit")
        return
    old_limit, old_total = _number(limit_file), _number(total_file)
    if total is None and limit is not None:
        total = _implied_total(limit, old_limit, old_total)
    check(limit if limit is not None else -1 if old_limit >= _UNLIMITED_FROM else old_limit, total)
    # The kernel keeps memory <= memory and swap at every moment, so the order depends on the way.
    steps = [(limit_file, str(limit), "memory_limit")] if limit is not None else []
    if total is not None:
        grows = total < 0 or total >= old_total
        steps.insert(0 if grows else len(steps), (total_file, str(total), "memory_swap"))
    for path, value, option in steps:
        files.write(path, value, option)


def _limit_v2(files: ControlFiles, directory: str, limit: int | None, total: int | None) -> None:
    limit_file, swap_file = f"{directory}/memory.max", f"{directory}/memory.swap.max"
    old_limit = _number(limit_file)
    check(limit if limit is not None else -1 if old_limit >= _UNLIMITED_FROM else old_limit, total)
    if limit is not None:
        # v2 would kill until the limit is kept; v1 refuses.
        if 0 <= limit < _number(f"{directory}/memory.current") - _reclaimable(directory):
            raise Conflict("memory_limit is less than the container uses now", "stop something inside first")
        files.write(limit_file, _text(limit), "memory_limit")
    if not os.path.exists(swap_file):
        if total is not None and total >= 0:
            raise _no_swap_accounting()
        return
    if total is None and limit is not None:
        old_swap = _number(swap_file)
        old_total = old_swap if old_swap >= _UNLIMITED_FROM else old_limit + old_swap
        total = _implied_total(limit, old_limit, old_total)
    if total is not None:
        base = limit if limit is not None else old_limit
        files.write(swap_file, _text(total if total < 0 else total - base), "memory_swap")


def _implied_total(limit: int, old_limit: int, old_total: int) -> int:
    """Memory and swap for a new ``limit`` when no total was asked for: what was asked before stays."""
    fresh = old_limit >= _UNLIMITED_FROM and old_total >= _UNLIMITED_FROM
    if fresh or old_total == 2 * old_limit:
        return 2 * limit
    if old_total < limit:
        raise InvalidInput(
            "memory_limit would exceed memory_swap, which is memory and swap together",
            "raise memory_swap in the same update",
        )
    return old_total if old_total < _UNLIMITED_FROM else -1


def _text(value: int) -> str:
    return "max" if value < 0 else str(value)


def _number(path: str) -> int:
    text = read(path).strip()
    return _UNLIMITED_FROM if text == "max" else int(text)


def _reclaimable(directory: str) -> int:
    for line in read(directory + "/memory.stat").splitlines():
        if line.startswith("file "):
            return int(line.split()[1])
    return 0


def _no_swap_accounting() -> Unsupported:
    return Unsupported(
        "memory_swap: controller 'memory' does not count swap on this host",
        "boot with swapaccount=1, or leave memory_swap out",
    )
