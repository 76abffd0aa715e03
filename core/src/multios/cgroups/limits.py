"""Resource limits: :class:`~multios.model.container.Resources` into control files, at create and on update.

What this host cannot enforce raises ``Unsupported`` that names the controller and the option; nothing
that was asked for passes silently. A field that is ``None`` stays as it is.
"""

from __future__ import annotations

import errno
import math
import os
from typing import TYPE_CHECKING

from multios.cgroups.hierarchy import Hierarchy, read, write
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, StepFailed, Unsupported

if TYPE_CHECKING:
    from multios.model.container import Resources

CPU_PERIOD = 100_000
"""Microseconds; the kernel's own default (sched-bwc)."""
_MINIMUM_QUOTA = 1_000
_UNLIMITED_FROM = 1 << 62
"""Page counters on v1 read as a number near 2**63 when they are not limited."""


def apply(hierarchy: Hierarchy, name: str, resources: Resources, data_root: str) -> None:
    """Write the limits of group ``name``. ``io_limit`` is set on the block device under ``data_root``.

    Raises ``Unsupported`` (controller, option), ``InvalidInput`` (the kernel refuses the value),
    ``Conflict`` (the group uses more than a lowered limit) or ``NotFound`` (no such group).
    """
    limits = _Limits(hierarchy, name)
    if resources.memory_limit is not None or resources.memory_swap is not None:
        limits.memory(resources.memory_limit, resources.memory_swap)
    if resources.cpu_limit is not None:
        limits.cpu(resources.cpu_limit)
    if resources.cpu_shares is not None:
        limits.shares(resources.cpu_shares)
    if resources.cpuset is not None:
        limits.cpuset(resources.cpuset)
    if resources.pids_limit is not None:
        limits.pids(resources.pids_limit)
    if resources.io_limit is not None:
        limits.io(resources.io_limit, data_root)


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


class _Limits:
    """Writes the files of one group; remembers where each controller is."""

    def __init__(self, hierarchy: Hierarchy, name: str) -> None:
        self.hierarchy = hierarchy
        self.name = name

    def memory(self, limit: int | None, total: int | None) -> None:
        """``total`` is memory and swap together, −1 unlimited; unset it is twice the memory, as docker has it."""
        directory = self._directory("memory", "memory_limit" if limit is not None else "memory_swap")
        if total is not None and total >= 0 and limit is not None and total < limit:
            raise InvalidInput("memory_swap is smaller than memory_limit", "it is memory and swap together")
        if "memory" in self.hierarchy.v1:
            self._memory_v1(directory, limit, total)
        else:
            self._memory_v2(directory, limit, total)

    def _memory_v1(self, directory: str, limit: int | None, total: int | None) -> None:
        limit_file, total_file = (
            f"{directory}/memory.limit_in_bytes",
            f"{directory}/memory.memsw.limit_in_bytes",
        )
        if not os.path.exists(total_file):
            if total is not None:
                raise _no_swap_accounting()
            self._write(limit_file, str(limit), "memory", "memory_limit")
            return
        old_limit, old_total = self._number(limit_file), self._number(total_file)
        if total is None and limit is not None:
            total = _implied_total(limit, old_limit, old_total)
        text = str(total)
        # The kernel keeps memory <= memory and swap at every moment, so the order depends on the way.
        steps = [(limit_file, str(limit), "memory_limit")] if limit is not None else []
        if total is not None:
            grows = total < 0 or total >= old_total
            steps.insert(0 if grows else len(steps), (total_file, text, "memory_swap"))
        for path, value, option in steps:
            self._write(path, value, "memory", option)

    def _memory_v2(self, directory: str, limit: int | None, total: int | None) -> None:
        limit_file, swap_file = f"{directory}/memory.max", f"{directory}/memory.swap.max"
        old_limit = self._number(limit_file)
        if limit is not None:
            if self._number(f"{directory}/memory.current") - _reclaimable(directory) > limit:
                raise Conflict(
                    "memory_limit is less than the container uses now", "stop something inside first"
                )
            self._write(limit_file, str(limit), "memory", "memory_limit")
        if not os.path.exists(swap_file):
            if total is not None:
                raise _no_swap_accounting()
            return
        if total is None:
            old_swap = self._number(swap_file)
            swap = str(limit) if _implied_total(0, old_limit, old_limit + old_swap) == 0 else ""
        else:
            base = limit if limit is not None else old_limit
            if 0 <= total < base and base < _UNLIMITED_FROM:
                raise InvalidInput(
                    "memory_swap is smaller than memory_limit", "it is memory and swap together"
                )
            swap = "max" if total < 0 or base >= _UNLIMITED_FROM else str(total - base)
        if swap:
            self._write(swap_file, swap, "memory", "memory_swap")

    def cpu(self, cores: float) -> None:
        directory = self._directory("cpu", "cpu_limit")
        quota = max(_MINIMUM_QUOTA, round(cores * CPU_PERIOD))
        if "cpu" in self.hierarchy.v1:
            self._write(f"{directory}/cpu.cfs_period_us", str(CPU_PERIOD), "cpu", "cpu_limit")
            self._write(f"{directory}/cpu.cfs_quota_us", str(quota), "cpu", "cpu_limit")
        else:
            self._write(f"{directory}/cpu.max", f"{quota} {CPU_PERIOD}", "cpu", "cpu_limit")

    def shares(self, shares: int) -> None:
        directory = self._directory("cpu", "cpu_shares")
        if "cpu" in self.hierarchy.v1:
            self._write(f"{directory}/cpu.shares", str(shares), "cpu", "cpu_shares")
        else:
            self._write(f"{directory}/cpu.weight", str(weight_of(shares)), "cpu", "cpu_shares")

    def cpuset(self, processors: str) -> None:
        directory = self._directory("cpuset", "cpuset")
        self._write(f"{directory}/cpuset.cpus", processors, "cpuset", "cpuset")

    def pids(self, limit: int) -> None:
        directory = self._directory("pids", "pids_limit")
        self._write(f"{directory}/pids.max", str(limit) if limit > 0 else "max", "pids", "pids_limit")

    def io(self, operations: int, data_root: str) -> None:
        """v1 throttles direct and read I/O only; buffered writes are seen by v2's ``io`` controller alone."""
        controller = "blkio" if "blkio" in self.hierarchy.v1 else "io"
        directory = self._directory(controller, "io_limit")
        device = block_device(data_root, self.hierarchy.root)
        if controller == "io":
            self._write(
                f"{directory}/io.max", f"{device} riops={operations} wiops={operations}", "io", "io_limit"
            )
            return
        for way in ("read", "write"):
            path = f"{directory}/blkio.throttle.{way}_iops_device"
            self._write(path, f"{device} {operations}", "blkio", "io_limit")

    def _directory(self, controller: str, option: str) -> str:
        directory = self.hierarchy.path(controller, self.name)
        if not directory:
            raise Unsupported(
                f"{option}: this host gives us no cgroup controller {controller!r}",
                "enable it (kernel parameter cgroup_enable, or delegation by systemd), or leave the limit out",
            )
        if not os.path.isdir(directory):
            raise NotFound(f"no cgroup {self.name!r} for {option}")
        return directory

    def _number(self, path: str) -> int:
        text = read(path).strip()
        return _UNLIMITED_FROM if text == "max" else int(text)

    def _write(self, path: str, value: str, controller: str, option: str) -> None:
        try:
            write(path, value)
        except OSError as error:
            raise _refusal(error, value, controller, option) from error


def block_device(path: str, root: str = "") -> str:
    """``major:minor`` of the whole disk that ``path`` lies on; ``Unsupported`` where there is none."""
    number = os.stat(path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    directory = f"{root}/sys/dev/block/{device}"
    if not os.path.isdir(directory):
        raise Unsupported(
            f"io_limit: {path} does not lie on a block device (device {device})",
            "put the data root on a filesystem with a disk of its own, or leave the limit out",
        )
    if os.path.exists(directory + "/partition"):  # only whole disks are throttled
        return read(os.path.realpath(directory) + "/../dev").strip()
    return device


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


def _refusal(error: OSError, value: str, controller: str, option: str) -> MultiosError:
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return Unsupported(
            f"{option}: controller {controller!r} lacks {os.path.basename(str(error.filename))}"
        )
    if error.errno in (errno.EINVAL, errno.ERANGE, errno.ENOSPC, errno.EACCES):
        return InvalidInput(
            f"{option}: the kernel's {controller!r} controller refuses {value!r} ({error.strerror})"
        )
    if error.errno == errno.EBUSY:
        return Conflict(f"{option}: the container uses more than {value} now", "stop something inside first")
    return StepFailed("limit", f"{option}: {error.strerror} ({error.filename})")
