"""Measure courses on a cluster, write results-clusters.md. See README.md beside this file."""

from __future__ import annotations

import argparse
import bisect
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import table  # noqa: E402
from table import Row  # noqa: E402

import kubernetes_server  # noqa: E402

OUTPUT = HERE / "results-clusters.md"
PLANNED, APPLIED = 10_000, 300
RATE, BURST = 100, 40
WINDOWS = (0.5, 2.0, 10.0)
"""Seconds in which requests are counted."""
PROGRAM = Path(sys.executable).with_name("multios-container")
COURSE = (
    'schema = 1\nname = "class"\ntitle = "A class"\nversion = "1.0"\nroster = "students.csv"\n[[templates]]\n'
    f'image = "registry.example.org/small@sha256:{"a" * 64}"\ncommand = ["sleep", "1000000"]\n'
    '[quota]\nmemory = "512MB"\ncpus = 0.5\ndisk = "1GB"\n'
)
TITLE = "Results for clusters"


@dataclass(frozen=True)
class Run:
    """One command: what it took, and how much more than the rate it asked of the server in any of :data:`WINDOWS`."""

    seconds: float
    megabytes: float
    over: int


class Teacher:
    """Runs commands with a course of many students against an API server of the tests' own."""

    def __init__(self, folder: Path, students: int, server: kubernetes_server.Server, rate: float) -> None:
        self._server, self._rate = server, rate
        self._folder = folder
        folder.mkdir()
        (folder / "course.toml").write_text(COURSE)
        lines = "".join(f"s{number:05},Student {number}\n" for number in range(students))
        (folder / "students.csv").write_text("id,name\n" + lines)
        self._kubeconfig = server.kubeconfig(folder / "kubeconfig")

    def course(self, verb: str, *words: str) -> Run:
        """The command as a process of its own."""
        self._server.requests.clear()
        command = [str(PROGRAM), "course", verb, str(self._folder), *words, "--orchestrator", "kubernetes"]
        for setting in (f"rate={self._rate}", f"burst={BURST}", f"kubeconfig={self._kubeconfig}"):
            command += ["--orchestrator-opt", setting]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{' '.join(command)} failed")
        moments = [request.at for request in self._server.requests]
        return Run(time.perf_counter() - begun, usage.ru_maxrss / 1000, over(moments, self._rate))


def over(moments: Sequence[float], rate: float) -> int:
    """By how many requests the fullest of all windows is beyond ``rate`` and ``BURST``; 0 where none is."""
    most = 0
    for seconds in WINDOWS:
        for number, begin in enumerate(moments):
            count = bisect.bisect_right(moments, begin + seconds) - number
            most = max(most, count - int(rate * seconds) - BURST)
    return most if rate else 0


def planned(place: Path, students: int) -> list[Row]:
    """Rows of the plan alone."""
    with kubernetes_server.running() as server:
        run = Teacher(place / "planned", students, server, 0).course("start", "--dry-run")
    what = f"`course start --dry-run` of {students:,} students, "
    return [
        Row(what + "time", run.seconds, "s", bound=10),
        Row(what + "memory", run.megabytes, "MB", bound=300),
    ]


def applied(place: Path, students: int) -> list[Row]:
    """Rows of a whole term."""
    with kubernetes_server.running() as server:
        empty = set(server.store.objects)
        teacher = Teacher(place / "applied", students, server, RATE)
        start, again = teacher.course("start"), teacher.course("start")
        made = len(set(server.store.objects) - empty)
        wipe = teacher.course("wipe", "--yes")
        left = len(set(server.store.objects) - empty)
    print(f"{made} objects of {students} students were there, {left} are left")
    over_rate = max(run.over for run in (start, again, wipe))
    return [
        Row(f"`course start` of {students} students at {RATE} requests a second", start.seconds, "s"),
        Row("the same with nothing changed", again.seconds, "s"),
        Row("`course wipe` of them", wipe.seconds, "s"),
        Row(
            f"requests beyond the rate and its burst of {BURST}, in any window of 0.5, 2 and 10 s",
            over_rate,
            "",
            bound=0,
        ),
        Row(f"objects left of {made:,}", left, "", bound=0),
    ]


def main() -> int:
    """Measure and write; nothing but a directory is made, and removed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planned", type=int, default=PLANNED, help="students of the plan")
    parser.add_argument("--applied", type=int, default=APPLIED, help="students of the whole term")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="multios-bench-", dir="/var/tmp") as name:
        rows = [
            *planned(Path(name), arguments.planned),
            *applied(Path(name), arguments.applied),
        ]
    note = (
        f"Whole commands, once each, beside the tests' own API server on loopback: "
        f"its time is among the seconds. The term is of {arguments.applied} students and not of {arguments.planned:,}, because that "
        "server looks through all objects at each request. `make bench-clusters` writes this page."
    )
    table.write(OUTPUT, TITLE, [], note, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
