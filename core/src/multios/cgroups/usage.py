"""What a group uses: one reading, and what the kernel counts of limits that were met."""

from __future__ import annotations

from multios.cgroups.hierarchy import Hierarchy, read
from multios.model.container import Counters, Stats

_UNLIMITED_FROM = 1 << 62


def stats(hierarchy: Hierarchy, name: str) -> Stats:
    """One reading; what the host does not count is ``None``. Memory is without the cache that can go at once."""
    memory, limit = _memory(hierarchy, name)
    pids = hierarchy.path("pids", name)
    read_bytes, write_bytes = _blocks(hierarchy, name)
    return Stats(
        cpu_nanoseconds=_cpu(hierarchy, name),
        memory_bytes=memory,
        memory_limit=limit,
        pids=_number(f"{pids}/pids.current") if pids else None,
        pids_limit=_number(f"{pids}/pids.max") if pids else None,
        read_bytes=read_bytes,
        write_bytes=write_bytes,
    )


def counters(hierarchy: Hierarchy, name: str) -> Counters:
    """What has been counted since the group was made; ask before it is removed. Few files: it is read often."""
    kills, hits = _memory_events(hierarchy, name)
    nanoseconds = _cpu(hierarchy, name)
    cpu, pids = hierarchy.path("cpu", name), hierarchy.path("pids", name)
    throttled = _table(f"{cpu}/cpu.stat") if cpu else {}
    time = throttled.get("throttled_time")
    microseconds = throttled.get("throttled_usec")
    if time is None and microseconds is not None:
        time = microseconds * 1000
    return Counters(
        cpu_nanoseconds=nanoseconds,
        oom_kills=kills,
        memory_limit_hits=hits,
        throttled_periods=throttled.get("nr_throttled"),
        throttled_nanoseconds=time,
        pids_refused=_table(f"{pids}/pids.events").get("max") if pids else None,
    )


def _memory_events(hierarchy: Hierarchy, name: str) -> tuple[int | None, int | None]:
    """Processes that the OOM killer took, and how often the limit was met."""
    directory = hierarchy.path("memory", name)
    if not directory:
        return None, None
    if "memory" in hierarchy.v1:
        kills = _table(f"{directory}/memory.oom_control").get("oom_kill")
        return kills, _number(f"{directory}/memory.failcnt")
    events = _table(f"{directory}/memory.events")
    return events.get("oom_kill"), events.get("max")


def _cpu(hierarchy: Hierarchy, name: str) -> int | None:
    if "cpuacct" in hierarchy.v1:
        return _number(f"{hierarchy.path('cpuacct', name)}/cpuacct.usage")
    directory = hierarchy.path("unified", name)  # counted there even without the controller
    microseconds = _table(f"{directory}/cpu.stat").get("usage_usec") if directory else None
    return None if microseconds is None else microseconds * 1000


def _memory(hierarchy: Hierarchy, name: str) -> tuple[int | None, int | None]:
    directory = hierarchy.path("memory", name)
    if not directory:
        return None, None
    old = "memory" in hierarchy.v1
    used = _number(f"{directory}/{'memory.usage_in_bytes' if old else 'memory.current'}")
    limit = _number(f"{directory}/{'memory.limit_in_bytes' if old else 'memory.max'}")
    if used is not None:
        cache = _table(f"{directory}/memory.stat").get("total_inactive_file" if old else "inactive_file", 0)
        used = max(0, used - cache)
    return used, limit


def _blocks(hierarchy: Hierarchy, name: str) -> tuple[int | None, int | None]:
    directory = hierarchy.path("blkio", name)
    if directory:
        return _blocks_v1(f"{directory}/blkio.throttle.io_service_bytes_recursive")
    directory = hierarchy.path("io", name)
    text = _text(f"{directory}/io.stat") if directory else None
    if text is None:
        return None, None
    totals = {"rbytes": 0, "wbytes": 0}
    for word in text.split():
        key, _, value = word.partition("=")
        if key in totals:
            totals[key] += int(value)
    return totals["rbytes"], totals["wbytes"]


def _blocks_v1(path: str) -> tuple[int | None, int | None]:
    text = _text(path)
    if text is None:
        return None, None
    totals = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in totals:
            totals[fields[1]] += int(fields[2])
    return totals["Read"], totals["Write"]


def _text(path: str) -> str | None:
    try:
        return read(path)
    except OSError:  # the group went while we looked, or this kernel has no such file
        return None


def _number(path: str) -> int | None:
    text = (_text(path) or "max").strip()
    if text == "max" or int(text) >= _UNLIMITED_FROM:
        return None
    return int(text)


def _table(path: str) -> dict[str, int]:
    lines = (line.split() for line in (_text(path) or "").splitlines())
    return {fields[0]: int(fields[1]) for fields in lines if len(fields) == 2}
