"""How often a group met its limits, as the kernel counts it from the group's making on."""

from __future__ import annotations

from multios.cgroups.hierarchy import Hierarchy, read

_NAMES = {
    "memory": (("memory.oom_control", "memory.events"), {"oom_kill": "oom_kills"}),
    "pids": (("pids.events", "pids.events"), {"max": "forks"}),
    "cpu": (
        ("cpu.stat", "cpu.stat"),
        {"nr_throttled": "throttled", "throttled_time": "nanoseconds", "throttled_usec": "microseconds"},
    ),
}
"""By controller: the file in version 1 and in version 2, and what its lines are called here."""


def hits(hierarchy: Hierarchy, name: str) -> dict[str, int]:
    """``oom_kills`` of processes, ``forks`` refused, ``throttled`` periods of CPU and ``throttled_seconds``.

    What the host does not count, or the group's end has taken away, is not there.
    """
    found: dict[str, int] = {}
    for controller, (files, names) in _NAMES.items():
        directory = hierarchy.path(controller, name)
        if not directory:
            continue
        file = files[0] if controller in hierarchy.v1 else files[1]
        for key, value in _lines(f"{directory}/{file}"):
            if key in names:
                found[names[key]] = value
    nanoseconds = found.pop("nanoseconds", 0) + 1000 * found.pop("microseconds", 0)
    if found.get("throttled"):
        found["throttled_seconds"] = nanoseconds // 1_000_000_000
    return found


def _lines(path: str) -> list[tuple[str, int]]:
    try:
        words = [line.split() for line in read(path).splitlines()]
    except OSError:
        return []
    return [(pair[0], int(pair[1])) for pair in words if len(pair) == 2 and pair[1].isdigit()]
