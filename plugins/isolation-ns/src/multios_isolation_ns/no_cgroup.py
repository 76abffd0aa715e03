"""What stands in for a container's cgroup where there is none: its PID namespace, seen through /proc.

The first process of a PID namespace takes all others along when it dies (pid_namespaces(7)), so nothing escapes a
kill. Limits and freezing have no substitute: they are refused.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from multios.errors import Unsupported
from multios.model.container import Counters, Resources, Stats

_REMEDY = "have systemd delegate one to you (docs/how-to/rootless.md, Limits), or leave it out"
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME, _CHILDREN_UTIME, _CHILDREN_STIME, _THREADS, _START, _RSS = 11, 12, 13, 14, 17, 19, 21
"""Fields of proc_pid_stat(5), counted from the state on."""


class NoCgroup:
    """The same face as :class:`multios.cgroups.Cgroups`; the name of the group is of no concern."""

    def __init__(self, pid: int, started: int) -> None:
        self._pid = pid
        self._started = started

    def limit(self, name: str, resources: Resources) -> None:
        """``Unsupported`` for the first limit that is asked for; that there be none is fulfilled."""
        for field in fields(resources):
            if field.name != "disk_limit" and getattr(resources, field.name) not in (None, -1, ""):
                raise Unsupported(
                    f"{field.name}: this daemon has no cgroup that it may write limits to", _REMEDY
                )

    def allow_devices(self, name: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Nothing is to be done: in a user namespace no device node can be made, and only ours are mounted."""

    def freeze(self, name: str) -> None:
        """``Unsupported``."""
        raise Unsupported("pausing: this daemon has no cgroup that it may freeze", _REMEDY)

    def thaw(self, name: str) -> None:
        """Nothing is ever frozen."""

    def frozen(self, name: str) -> bool:
        """Never."""
        return False

    def counters(self, name: str) -> Counters:
        """What /proc counts: CPU time alone."""
        return Counters(cpu_nanoseconds=self.stats(name).cpu_nanoseconds)

    def processes(self, name: str) -> list[int]:
        """All in the PID namespace of the first process, but those in namespaces that the container made itself."""
        if not self._alive():
            return []
        try:
            wanted = os.readlink(f"/proc/{self._pid}/ns/pid")
        except OSError:
            return []
        return sorted(pid for pid in _all_pids() if _namespace(pid) == wanted)

    def kill(self, name: str) -> None:
        """SIGKILL to the first process, of which all others die."""
        try:
            descriptor = os.pidfd_open(self._pid)
        except ProcessLookupError:
            return
        try:
            if self._alive():
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        """Nothing is there."""

    def stats(self, name: str) -> Stats:
        """One reading, added up over the processes; memory that they share is counted for each."""
        processor = memory = threads = read = written = 0
        for pid in self.processes(name):
            values = _stat(pid)
            if not values:
                continue
            processor += sum(values[_UTIME : _CHILDREN_STIME + 1])
            memory += values[_RSS]
            threads += values[_THREADS]
            more_read, more_written = _traffic(pid)
            read, written = read + more_read, written + more_written
        return Stats(
            cpu_nanoseconds=processor * _TICK,
            memory_bytes=memory * _PAGE,
            pids=threads,
            read_bytes=read,
            write_bytes=written,
        )

    def _alive(self) -> bool:
        """Whether the first process is there, and no other with its pid."""
        return self._pid > 0 and start_time(self._pid) == self._started != 0


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 for one that is gone."""
    values = _stat(pid)
    return values[_START] if values else 0


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _stat(pid: int) -> list[int]:
    """The numbers after the name; the state, a letter, is 0."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return []
    return [0, *(int(word) for word in words[1:])]


def _traffic(pid: int) -> tuple[int, int]:
    """Bytes from and to disks (proc_pid_io(5))."""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            values = dict(line.split(": ") for line in file.read().splitlines())
    except OSError:
        return 0, 0
    return int(values["read_bytes"]), int(values["write_bytes"])
