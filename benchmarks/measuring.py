"""Medians of whole processes, and memory by PSS."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

RUNS = 20
PAUSE = 0.1


def median_ms(act: Callable[[], object], pause: float = 0.0, runs: int = RUNS) -> float:
    """The median of ``runs`` times of ``act`` in milliseconds, after two that do not count."""
    times = []
    for number in range(runs + 2):
        if pause:
            time.sleep(pause)
        begin = time.perf_counter()
        act()
        if number >= 2:
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


def process(command: Sequence[str], environment: Mapping[str, str]) -> Callable[[], None]:
    """Runs ``command`` to its end; it must succeed. Spawned without a fork of this big process."""
    program = command[0]

    def act() -> None:
        pid = os.posix_spawn(program, command, environment, file_actions=_SILENT)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            raise RuntimeError(
                f"{' '.join(command)}: exit {code}; again: {done.returncode}, {done.stderr[-500:]}"
            )

    return act


_SILENT = [
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
]


def pss_mb(pids: Iterable[int]) -> float:
    """The proportional set size of processes together, in MB; one that has ended counts nothing."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def children_of(pids: Iterable[int]) -> set[int]:
    """``pids`` and all that descend from them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = set(pids)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more
