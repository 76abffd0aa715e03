"""A Markdown table: each limit, what was asked for, and what a program inside measured on this kind of host.

Root is needed. Limits that this host cannot enforce are shown with its refusal.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import limit_probes as probes  # noqa: E402
from limit_probes import MIB  # noqa: E402
from private_engine import IMAGE, PrivateEngine  # noqa: E402

NAME = "measured"


@dataclass(frozen=True)
class Limit:
    """``changed`` are the options of the update that follows; ``shown`` makes words of a measured number."""

    what: str
    options: tuple[str, ...]
    changed: tuple[str, ...]
    program: str
    shown: Callable[[float], str]


def _mib(count: float) -> str:
    return f"{count / MIB:.2f} MiB/s"


LIMITS = (
    Limit("CPU", ("--cpu-limit", "0.3"), ("--cpu-limit", "10%"), probes.CPU, "{:.3f} cores".format),
    Limit(
        "processors", ("--cpuset", "0"), ("--cpuset", "all"), probes.PROCESSORS, "{:.0f} processors".format
    ),
    Limit(
        "memory",
        ("--memory-limit", "64M", "--memory-swap", "64M"),
        ("--memory-limit", "96M", "--memory-swap", "96M"),
        probes.MEMORY,
        "killed after {:.0f} MiB".format,
    ),
    Limit(
        "processes", ("--pids-limit", "20"), ("--pids-limit", "12"), probes.PROCESSES, "{:.0f} made".format
    ),
    Limit(
        "operations (write)",
        ("--io-limit", "100"),
        ("--io-limit", "50"),
        probes.WRITES,
        "{:.0f} a second".format,
    ),
    Limit(
        "operations (read)",
        ("--io-limit", "100"),
        ("--io-limit", "50"),
        probes.READS,
        "{:.0f} a second".format,
    ),
    Limit("bytes written", ("--io-bps", "4M"), ("--io-bps", "2M"), probes.WRITTEN, _mib),
    Limit("bytes read", ("--io-bps", "4M"), ("--io-bps", "2M"), probes.READ, _mib),
    Limit(
        "disk", ("--disk-limit", "32M"), ("--disk-limit", "64M"), probes.ROOM, "full after {:.0f} MiB".format
    ),
    Limit("huge pages", ("--hugepages", "2M=4M"), ("--hugepages", "2M=8M"), probes.HUGE, "{:.0f} MiB".format),
)


def measured(engine: PrivateEngine, limit: Limit) -> tuple[str, str]:
    """What was measured under ``limit`` from the start, and in the running container after its update."""
    words = (*limit.options, *probes.mounts(), IMAGE, "sleep", "1000")
    engine.run("delete", "--force", NAME, status=None)
    made = engine.run("run", "-d", "--name", NAME, *words, status=None)
    if made.returncode:
        refusal = f"refused: {made.stderr.splitlines()[0].removeprefix('Error: ')}"
        return refusal, refusal
    first = _measure(engine, limit)
    engine.run("update", NAME, *limit.changed)
    return first, _measure(engine, limit)


def _measure(engine: PrivateEngine, limit: Limit) -> str:
    done = engine.run("exec", NAME, *probes.command(limit.program), status=None)
    return limit.shown(float(done.stdout.split()[-1])) if done.stdout.split() else done.stderr.strip()


def shares(engine: PrivateEngine) -> str:
    """How one processor was divided between two containers, 4 to 1 asked for."""
    begin = str(time.time() + 4)
    names = {"1600": "more", "400": "less"}
    for asked, name in names.items():
        words = ("--cpuset", "0", "--cpu-shares", asked, *probes.mounts(), IMAGE)
        engine.run("run", "-d", "--name", name, *words, *probes.command(probes.CPU_UNTIL, begin))
    for name in names.values():
        engine.run("wait", name)
    more, less = (float(engine.out("logs", name)) for name in names.values())
    return f"{more:.2f} s and {less:.2f} s of 3 s: {more / less:.1f} to 1"


def table() -> str:
    """The table of this kind of host."""
    with ExitStack() as ending:
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        engine = PrivateEngine(directory / "engine")
        ending.callback(engine.end)
        engine.start()
        engine.import_small_image()
        ending.enter_context(probes.huge_pages(10))
        kind = engine.json("features")["cgroup"]
        lines = [
            f"| limit | asked | measured inside (cgroup {kind}) | updated to | measured inside |",
            "|---|---|---|---|---|",
        ]
        for limit in LIMITS:
            before, after = measured(engine, limit)
            asked, changed = (" ".join(words) for words in (limit.options, limit.changed))
            lines.append(f"| {limit.what} | `{asked}` | {before} | `{changed}` | {after} |")
        lines.append(f"| shares | `--cpu-shares 1600` beside `400` | {shares(engine)} | | |")
        return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    print(table(), end="")
