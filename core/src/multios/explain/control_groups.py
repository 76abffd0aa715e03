"""The control groups that a container is in, and every limit that is set there (cgroups(7)).

Read from the process: ``/proc/PID/cgroup`` says where it is in each hierarchy, our own mount table where those are
mounted. So it is right for v1, v2 and hybrid hosts, whoever made the group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multios.explain.live import LiveProcess, unescape
from multios.explain.part import part
from multios.model.container import Resources

_MOUNTS = Path("/proc/self/mountinfo")
_ENDLESS = 1 << 62
"""v1 writes no limit as the largest number of whole pages."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control file: what it limits, and how its text is read; an empty reading is: nothing is set."""

    controller: str
    file: str
    what: str
    read: Callable[[str], str]


def _size(text: str) -> str:
    value = text.strip()
    if not value.isdecimal() or int(value) >= _ENDLESS:
        return ""
    count, units = float(value), ["B", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count, units = count / 1024, units[1:]
    return f"{count:.4g} {units[0]}"


def _number(text: str) -> str:
    value = text.strip()
    return value if value.isdecimal() and int(value) < _ENDLESS else ""


def _other_than(usual: str) -> Callable[[str], str]:
    return lambda text: "" if text.strip() == usual else text.strip()


def _lines(text: str) -> str:
    return "; ".join(text.split("\n")).strip("; ")


def _cpu_max(text: str) -> str:
    words = text.split()
    if len(words) != 2 or not words[0].isdecimal():
        return ""
    return f"{int(words[0]) / int(words[1]):g} of a processor ({words[0]} of every {words[1]} µs)"


_V1 = (
    Control("memory", "memory.limit_in_bytes", "memory", _size),
    Control("memory", "memory.memsw.limit_in_bytes", "memory and swap together", _size),
    Control("memory", "memory.soft_limit_in_bytes", "memory, when the host is short", _size),
    Control("cpu", "cpu.cfs_quota_us", "processor time, µs a period", _number),
    Control("cpu", "cpu.cfs_period_us", "the period, µs", _number),
    Control("cpu", "cpu.shares", "weight against others, where 1024 is usual", _other_than("1024")),
    Control("cpuset", "cpuset.cpus", "which processors", _lines),
    Control("pids", "pids.max", "processes and threads", _number),
    Control("blkio", "blkio.throttle.read_iops_device", "reads a second, by device", _lines),
    Control("blkio", "blkio.throttle.write_iops_device", "writes a second, by device", _lines),
    Control("blkio", "blkio.throttle.read_bps_device", "bytes read a second, by device", _lines),
    Control("blkio", "blkio.throttle.write_bps_device", "bytes written a second, by device", _lines),
    Control("devices", "devices.list", "devices that may be used", _lines),
)
_V2 = (
    Control("memory", "memory.max", "memory", _size),
    Control("memory", "memory.high", "memory, from where it is slowed down", _size),
    Control("memory", "memory.swap.max", "swap", _size),
    Control("cpu", "cpu.max", "processor time", _cpu_max),
    Control("cpu", "cpu.weight", "weight against others, where 100 is usual", _other_than("100")),
    Control("cpuset", "cpuset.cpus", "which processors", _lines),
    Control("pids", "pids.max", "processes and threads", _number),
    Control("io", "io.max", "reads and writes, by device", _lines),
)
_ORDER = ("memory", "cpu", "cpuset", "pids", "io", "blkio", "hugetlb", "devices")
_V1_OF_HUGE = "hugetlb.*.limit_in_bytes"
_V2_OF_HUGE = "hugetlb.*.max"


def cgroups(
    process: LiveProcess | None, resources: Resources, devices: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Where the process is, and what is set there; without one, what has been asked for.

    ``devices`` are the rules of its spec: version 2 has no file for them, they are a program in the kernel.
    """
    groups = _groups(process.text("cgroup"), _MOUNTS.read_text(errors="replace")) if process else []
    limits = [row for group in groups for row in _limits(group)]
    limits.sort(key=lambda row: _ORDER.index(row["controller"]))
    versions = {group["version"] for group in groups}
    mode = "hybrid" if versions == {1, 2} else f"v{versions.pop()}" if versions else ""
    if mode == "v2" and process:
        limits.append(_device_program(groups[0]["directory"], devices))
    see = [f"cat /proc/{process.pid if process else 'PID'}/cgroup", "ls /sys/fs/cgroup   (inside)"]
    see += [f"cat {row['file']}" for row in limits[:2]]
    return part(
        "cgroups",
        "Limits: control groups",
        (
            "A control group is a directory that the kernel makes up: who is written into it is counted and limited "
            "together, with all its children.",
            "A limit is a number in a file there, so `cat` shows it and `echo` changes it.",
        ),
        see,
        {"mode": mode, "groups": groups, "limits": limits, "asked": [] if process else _asked(resources)},
    )


def _groups(text: str, mounted: str) -> list[dict[str, Any]]:
    """The directories in which the process is listed, by hierarchy; those that are not mounted here are left out."""
    found = []
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        place = _place(names, path, mounted)
        if place and (place[1] / "cgroup.procs").exists():
            found.append(
                {
                    "version": 1 if names else 2,
                    "controllers": names,
                    "mounted_at": str(place[0]),
                    "directory": str(place[1]),
                }
            )
    return found


def _place(names: str, path: str, mounted: str) -> tuple[Path, Path] | None:
    """Where a hierarchy is mounted, and the directory of a group in it."""
    for line in mounted.splitlines():
        fields = line.split(" ")
        end = fields.index("-")
        kind, options = fields[end + 1], fields[-1].split(",")
        if kind != ("cgroup" if names else "cgroup2") or not set(names.split(",")) <= {*options, ""}:
            continue
        root = unescape(fields[3]).rstrip("/")
        if path == root or path.startswith(root + "/"):
            top = Path(unescape(fields[4]))
            return top, top / path[len(root) :].lstrip("/")
    return None


def _limits(group: Mapping[str, Any]) -> list[dict[str, str]]:
    directory = Path(group["directory"])
    if group["directory"] == group["mounted_at"]:
        return []  # it is in no group of its own here: what is set there is everybody's
    controls = [
        control
        for control in (_V2 if group["version"] == 2 else _V1)
        if group["version"] == 2 or control.controller in group["controllers"].split(",")
    ]
    huge = _V2_OF_HUGE if group["version"] == 2 else _V1_OF_HUGE
    for file in sorted(directory.glob(huge)):
        if "rsvd" not in file.name:
            size = file.name.split(".")[1]
            controls.append(Control("hugetlb", file.name, f"huge pages of {size}", _size))
    rows = []
    for control in controls:
        file = directory / control.file
        try:
            raw = file.read_text().strip()
        except OSError:
            continue  # not every kernel has every file, nor every group every controller
        if value := control.read(raw):
            rows.append(
                {
                    "controller": control.controller,
                    "what": control.what,
                    "value": value,
                    "raw": raw,
                    "file": str(file),
                }
            )
    if not any("cfs_quota" in row["file"] for row in rows):  # a period alone limits nothing
        rows = [row for row in rows if "cfs_period" not in row["file"]]
    return rows


def _device_program(directory: str, devices: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    allowed = [
        f"{rule.get('type', 'a')} {rule.get('major', '*')}:{rule.get('minor', '*')} {rule['access']}"
        for rule in devices
        if rule["allow"]
    ]
    return {
        "controller": "devices",
        "what": "devices that may be used",
        "value": "; ".join(allowed),
        "raw": "",
        "file": f"a BPF program: bpftool cgroup list {directory}",
    }


def _asked(resources: Resources) -> list[dict[str, str]]:
    rows = {
        "processors": resources.cpu_limit,
        "weight": resources.cpu_shares,
        "which processors": resources.cpuset,
        "memory, bytes": resources.memory_limit,
        "memory and swap, bytes": resources.memory_swap,
        "processes and threads": resources.pids_limit,
        "disk, bytes": resources.disk_limit,
        "reads and writes a second": resources.io_limit,
        "bytes read and written a second": resources.io_bytes_limit,
    }
    return [{"what": what, "value": str(value)} for what, value in rows.items() if value not in (None, -1)]
