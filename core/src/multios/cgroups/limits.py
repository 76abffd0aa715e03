"""Resource limits: :class:`~multios.model.container.Resources` into control files, at create and on update.

What this host cannot enforce raises ``Unsupported`` that names the controller and the option; nothing
that was asked for passes silently. A field that is ``None`` stays as it is, −1 takes the limit away. When one
cannot be set, those set before it are put back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from multios.cgroups import disk_limits, memory_limits
from multios.cgroups.control_files import ControlFiles
from multios.cgroups.disk_limits import block_device as block_device  # part of this module's face
from multios.cgroups.hierarchy import Hierarchy, read
from multios.errors import Unsupported

if TYPE_CHECKING:
    from multios.model.container import Resources

CPU_PERIOD = 100_000
"""Microseconds; the kernel's own default (sched-bwc)."""
NORMAL_SHARES = 1024
_MINIMUM_QUOTA = 1_000


def apply(hierarchy: Hierarchy, name: str, resources: Resources, data_root: str) -> None:
    """Write the limits of group ``name``, all or none. Those of I/O are set on the block device under ``data_root``.

    Raises ``Unsupported`` (controller, option), ``InvalidInput`` (the kernel refuses the value),
    ``Conflict`` (the group uses more than a lowered limit) or ``NotFound`` (no such group).
    """
    files = ControlFiles(hierarchy, name)
    try:
        _apply(files, resources, data_root)
    except BaseException:
        files.put_back()
        raise


def _apply(files: ControlFiles, resources: Resources, data_root: str) -> None:
    if resources.memory_limit is not None or resources.memory_swap is not None:
        memory_limits.limit(files, resources.memory_limit, resources.memory_swap)
    if resources.cpu_limit is not None:
        _cpu(files, resources.cpu_limit)
    if resources.cpu_shares is not None:
        _shares(files, resources.cpu_shares)
    if resources.cpuset is not None:
        _cpuset(files, resources.cpuset)
    if resources.pids_limit is not None:
        _pids(files, resources.pids_limit)
    if resources.io_limit is not None or resources.io_bytes_limit is not None:
        disk_limits.limit(files, resources.io_limit, resources.io_bytes_limit, data_root)
    if resources.hugepages:
        _hugepages(files, resources.hugepages)


def weight_of(shares: int) -> int:
    """cgroup v2's ``cpu.weight`` (1 to 10000, 100 is normal) for v1's shares (2 to 262144, 1024 is normal).

    The curve through (2, 1), (1024, 100) and (262144, 10000) that is a parabola between logarithms.
    """
    if shares <= 2:
        return 1
    if shares >= 262_144:
        return 10_000
    scale = math.log2(shares)
    return min(10_000, math.ceil(10 ** ((scale * scale + 125 * scale) / 612 - 7 / 34)))


def _cpu(files: ControlFiles, cores: float) -> None:
    if cores < 0 and not files.hierarchy.path("cpu", files.name):
        return
    directory = files.directory("cpu", "cpu_limit")
    quota = max(_MINIMUM_QUOTA, round(cores * CPU_PERIOD))
    if "cpu" not in files.hierarchy.v1:
        text = "max" if cores < 0 else str(quota)
        files.write(f"{directory}/cpu.max", f"{text} {CPU_PERIOD}", "cpu_limit")
        return
    if cores >= 0:
        files.write(f"{directory}/cpu.cfs_period_us", str(CPU_PERIOD), "cpu_limit")
    files.write(f"{directory}/cpu.cfs_quota_us", "-1" if cores < 0 else str(quota), "cpu_limit")


def _shares(files: ControlFiles, shares: int) -> None:
    if shares < 0 and not files.hierarchy.path("cpu", files.name):
        return
    directory = files.directory("cpu", "cpu_shares")
    shares = NORMAL_SHARES if shares < 0 else shares
    if "cpu" in files.hierarchy.v1:
        files.write(f"{directory}/cpu.shares", str(shares), "cpu_shares")
    else:
        files.write(f"{directory}/cpu.weight", str(weight_of(shares)), "cpu_shares")


def _cpuset(files: ControlFiles, processors: str) -> None:
    """Empty is: all that the parent has. v1 knows no inheriting, and v2 takes it back from no group with processes."""
    if not processors and not files.hierarchy.path("cpuset", files.name):
        return
    directory = files.directory("cpuset", "cpuset")
    name = "cpuset.cpus" if "cpuset" in files.hierarchy.v1 else "cpuset.cpus.effective"
    inherited = read(f"{os.path.dirname(directory)}/{name}").strip()
    own = f"{directory}/cpuset.cpus"
    files.write(own, processors or inherited, "cpuset", before=read(own).strip() or inherited)


def _pids(files: ControlFiles, limit: int) -> None:
    if limit <= 0 and not files.hierarchy.path("pids", files.name):
        return
    directory = files.directory("pids", "pids_limit")
    files.write(f"{directory}/pids.max", str(limit) if limit > 0 else "max", "pids_limit")


def _hugepages(files: ControlFiles, limits: Mapping[str, int]) -> None:
    """Both what is used and what is reserved: mmap(2) then fails where touching the page would kill (SIGBUS)."""
    if max(limits.values()) < 0 and not files.hierarchy.path("hugetlb", files.name):
        return
    directory = files.directory("hugetlb", "hugepages")
    old = "hugetlb" in files.hierarchy.v1
    for size, limit in limits.items():
        text = str(limit) if limit >= 0 else "-1" if old else "max"
        written = 0
        for kind in ("rsvd.", ""):  # before 5.7 there is no limit of reservations
            path = f"{directory}/hugetlb.{size}.{kind}{'limit_in_bytes' if old else 'max'}"
            if os.path.exists(path):
                files.write(path, text, "hugepages")
                written += 1
        if not written:
            raise Unsupported(
                f"hugepages: this host has no pages of {size}", f"it has {_page_sizes(directory)}"
            )


def _page_sizes(directory: str) -> str:
    names = (name.split(".") for name in os.listdir(directory) if name.startswith("hugetlb."))
    return ", ".join(sorted({words[1] for words in names})) or "none"
