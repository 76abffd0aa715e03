"""The spec's ``linux.resources`` (config-linux.md) as control files. What this host cannot enforce is ``Unsupported``."""

from __future__ import annotations

import os

from multios.cgroups import devices
from multios.cgroups.hierarchy import read, write
from multios.errors import InvalidInput, StepFailed, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from multios_isolation_ns.oci_runtime.control_group import ControlGroup

_KNOWN = {
    "": {"devices", "memory", "cpu", "pids", "blockIO", "unified"},
    "memory": {
        *(
            "limit",
            "swap",
            "reservation",
            "swappiness",
            "disableOOMKiller",
            "useHierarchy",
            "checkBeforeUpdate",
        ),
    },
    "cpu": {"shares", "quota", "period", "burst", "idle", "cpus", "mems"},
    "pids": {"limit"},
    "blockIO": {
        *("weight", "throttleReadBpsDevice", "throttleWriteBpsDevice"),
        *("throttleReadIOPSDevice", "throttleWriteIOPSDevice"),
    },
}
_ALWAYS_ALLOWED = (("c", 1, (3, 5, 7, 8, 9), "rwm"), ("c", 5, (0, 2), "rwm"), ("c", 136, (-1,), "rwm"))
_THROTTLES = (
    ("throttleReadBpsDevice", "read_bps", "rbps"),
    ("throttleWriteBpsDevice", "write_bps", "wbps"),
    ("throttleReadIOPSDevice", "read_iops", "riops"),
    ("throttleWriteIOPSDevice", "write_iops", "wiops"),
)
_DEFAULT_PERIOD = 100_000


def check(section: Mapping[str, Any]) -> None:
    """Refuse, before anything is made, what we do not do."""
    for name, known in _KNOWN.items():
        part = section.get(name) if name else section
        for key in sorted(set(part or {}) - known):
            if (part or {})[key]:
                place = f"{name}.{key}" if name else key
                raise Unsupported(
                    f"linux.resources.{place} of the runtime spec", f"known are {', '.join(sorted(known))}"
                )


def apply(group: ControlGroup, section: Mapping[str, Any]) -> None:
    """Write what the section has; it may be a part, as *update* gives one. Device rules: :func:`allow_devices`."""
    check(section)
    memory, cpu, pids, block = (section.get(key) or {} for key in ("memory", "cpu", "pids", "blockIO"))
    try:
        if memory:
            _memory(group, memory)
        if cpu:
            _cpu(group, cpu)
        if pids.get("limit"):
            text = str(pids["limit"]) if int(pids["limit"]) > 0 else "max"
            _write(_directory(group, "pids", "pids.limit") + "/pids.max", text)
        if block:
            _block(group, block)
        for name, value in (section.get("unified") or {}).items():
            if "/" in name or "." not in name:
                raise InvalidInput(f"linux.resources.unified: {name!r} is not a control file")
            _write(_directory(group, "unified", "unified") + f"/{name}", str(value))
    except OSError as error:
        raise StepFailed("limit", f"{error.strerror} ({error.filename})") from error


def allow_devices(group: ControlGroup, section: Mapping[str, Any]) -> None:
    """The device rules, after which every container may use the devices that each has (config-linux.md)."""
    if group.mode == "none":
        raise Unsupported("device rules: this host has no cgroup hierarchy that we may write to")
    rules = [dict(rule) for rule in section.get("devices") or ()]
    rules += [{"allow": True, "type": kind, "access": "m"} for kind in "cb"]
    for kind, major, minors, access in _ALWAYS_ALLOWED:
        rules += [
            {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
            for minor in minors
        ]
    devices.apply(group, group.name, rules)


def _memory(group: ControlGroup, memory: Mapping[str, Any]) -> None:
    """``swap`` is memory and swap together; -1 is unlimited."""
    limit, total = (memory.get(key) or None for key in ("limit", "swap"))
    old = "memory" in group.v1
    if limit is not None or total is not None:
        directory = _directory(group, "memory", "memory.limit")
        if limit is not None and total is not None and 0 <= total < limit:
            raise InvalidInput(
                "linux.resources.memory.swap is less than limit", "it is memory and swap together"
            )
        (_limit_memory_v1 if old else _limit_memory_v2)(directory, limit, total)
    if memory.get("reservation"):
        directory = _directory(group, "memory", "memory.reservation")
        name = "memory.soft_limit_in_bytes" if old else "memory.low"
        _write(f"{directory}/{name}", str(memory["reservation"]))
    if memory.get("swappiness") is not None:
        _write(_only_v1(group, "memory.swappiness") + "/memory.swappiness", str(memory["swappiness"]))
    if memory.get("disableOOMKiller"):
        _write(_only_v1(group, "memory.disableOOMKiller") + "/memory.oom_control", "1")


def _limit_memory_v1(directory: str, limit: int | None, total: int | None) -> None:
    """The kernel keeps memory <= memory and swap at every moment, so the order depends on the way."""
    both = f"{directory}/memory.memsw.limit_in_bytes"
    if not os.path.exists(both):
        if total is not None and total != -1:
            raise _no_swap_accounting()
        total = None
    elif limit == -1:
        total = -1
    steps = [] if limit is None else [(f"{directory}/memory.limit_in_bytes", limit)]
    if total is not None:
        grows = total < 0 or total >= int(read(both))
        steps.insert(0 if grows else len(steps), (both, total))
    for path, value in steps:
        _write(path, str(value))


def _limit_memory_v2(directory: str, limit: int | None, total: int | None) -> None:
    if limit is not None:
        _write(f"{directory}/memory.max", "max" if limit < 0 else str(limit))
    if total is None and limit != -1:
        return
    swap = f"{directory}/memory.swap.max"
    if not os.path.exists(swap):
        if total is not None and total != -1:
            raise _no_swap_accounting()
        return
    now = read(f"{directory}/memory.max").strip()
    free = total is None or total < 0 or now == "max"
    _write(swap, "max" if free else str(max(0, (total or 0) - int(now))))


def _no_swap_accounting() -> Unsupported:
    return Unsupported(
        "linux.resources.memory.swap: controller 'memory' does not count swap on this host", "leave it out"
    )


def _cpu(group: ControlGroup, cpu: Mapping[str, Any]) -> None:
    if cpu.get("shares"):
        _shares(group, int(cpu["shares"]))
    if cpu.get("cpus"):
        _write(_directory(group, "cpuset", "cpu.cpus") + "/cpuset.cpus", str(cpu["cpus"]))
    if cpu.get("mems"):
        _write(_directory(group, "cpuset", "cpu.mems") + "/cpuset.mems", str(cpu["mems"]))
    old = "cpu" in group.v1
    quota, period = cpu.get("quota"), cpu.get("period")
    if quota or period:
        directory = _directory(group, "cpu", "cpu.quota")
        if old:
            if period:
                _write(f"{directory}/cpu.cfs_period_us", str(period))
            if quota:
                _write(f"{directory}/cpu.cfs_quota_us", str(quota))
        else:
            text = str(quota) if quota and quota > 0 else "max"
            _write(f"{directory}/cpu.max", f"{text} {period or _DEFAULT_PERIOD}")
    for key, v1_name, v2_name in (
        ("burst", "cpu.cfs_burst_us", "cpu.max.burst"),
        ("idle", "cpu.idle", "cpu.idle"),
    ):
        if cpu.get(key):
            _write(f"{_directory(group, 'cpu', f'cpu.{key}')}/{v1_name if old else v2_name}", str(cpu[key]))


def _shares(group: ControlGroup, shares: int) -> None:
    directory = _directory(group, "cpu", "cpu.shares")
    if "cpu" in group.v1:
        _write(f"{directory}/cpu.shares", str(shares))
        return
    from multios.cgroups.limits import weight_of  # deferred: only cgroup v2 counts otherwise

    _write(f"{directory}/cpu.weight", str(weight_of(shares)))


def _block(group: ControlGroup, block: Mapping[str, Any]) -> None:
    old = "blkio" in group.v1
    if block.get("weight"):
        directory = _directory(group, "blkio" if old else "io", "blockIO.weight")
        names = ("blkio.weight", "blkio.bfq.weight") if old else ("io.bfq.weight", "io.weight")
        name = next((name for name in names if os.path.exists(f"{directory}/{name}")), "")
        if not name:
            raise Unsupported("linux.resources.blockIO.weight: this kernel's disk schedulers know no weights")
        _write(f"{directory}/{name}", str(block["weight"]))
    for key, v1_name, v2_name in _THROTTLES:
        for one in block.get(key) or ():
            directory = _directory(group, "blkio" if old else "io", f"blockIO.{key}")
            device, rate = f"{one['major']}:{one['minor']}", one["rate"]
            if old:
                _write(f"{directory}/blkio.throttle.{v1_name}_device", f"{device} {rate}")
            else:
                _write(f"{directory}/io.max", f"{device} {v2_name}={rate}")


def _only_v1(group: ControlGroup, option: str) -> str:
    if "memory" not in group.v1:
        raise Unsupported(f"linux.resources.{option}: cgroup v2 has no such control", "leave it out")
    return _directory(group, "memory", option)


def _directory(group: ControlGroup, controller: str, option: str) -> str:
    directory = group.path(controller, group.name)
    if not directory:
        raise Unsupported(f"linux.resources.{option}: this host gives us no cgroup controller {controller!r}")
    return directory


def _write(path: str, text: str) -> None:
    try:
        write(path, text)
    except OSError as error:
        raise InvalidInput(
            f"linux.resources: the kernel refuses {text!r} for {os.path.basename(path)} ({error.strerror})"
        ) from error
