"""Time a class: every machine made and started by ``course start``, then wiped. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests/support")]

from private_engine import PrivateEngine  # noqa: E402

COURSE = (
    'schema = 1\nname = "class"\ntitle = "A class"\nversion = "1.0"\nroster = "students.csv"\n[[templates]]\n'
)
SMALL = 'image = "small:1"\ncommand = ["sleep", "1000000"]\n'
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure and print; the engine and all its traces are removed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=200)
    parser.add_argument("--template", default="", help="instead of an image of a few files; built before")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="multios-bench-", dir="/var/tmp") as place:
        engine = PrivateEngine(Path(place), containers=arguments.students + 10)
        try:
            engine.start()
            if arguments.template:
                engine.run("template", "build", arguments.template, timeout=3600)
            else:
                engine.import_small_image()
            for _ in range(arguments.rounds):
                measure(engine, Path(place), arguments.students, arguments.template)
        finally:
            engine.end()
    return 0


@dataclass(frozen=True)
class Round:
    """One class: seconds until all its machines ran, and bytes of disk that each took."""

    started: float
    each: float


def measure(engine: PrivateEngine, folder: Path, students: int, template: str) -> Round:
    """One round: a class is started, counted and wiped; a line is printed."""
    (folder / "course.toml").write_text(COURSE + (f'name = "{template}"\n' if template else SMALL))
    (folder / "students.csv").write_text("id\n" + "".join(f"s{number:03}\n" for number in range(students)))
    disk, used = disk_of(engine), processor(engine)
    begun = time.monotonic()
    engine.run("course", "start", str(folder), timeout=600)
    started = time.monotonic() - begun
    used = processor(engine) - used
    each = (disk_of(engine) - disk) / students
    begun = time.monotonic()
    engine.run("course", "wipe", "--yes", str(folder), timeout=600)
    wiped = time.monotonic() - begun
    print(
        f"{students} machines: started in {started:.1f} s ({used:.1f} s of processor time), {each / 1000:.0f} kB each, "
        f"wiped in {wiped:.1f} s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors",
        flush=True,
    )
    return Round(started, each)


def processor(engine: PrivateEngine) -> float:
    """Seconds of processor time of daemon, supervisor, what they have waited for, containers, and the clients."""
    clients = resource.getrusage(resource.RUSAGE_CHILDREN)
    pids = [*engine.processes(), *(row["pid"] for row in engine.json("ps"))]
    return clients.ru_utime + clients.ru_stime + sum(map(_ticks, pids)) / TICKS


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))


def disk_of(engine: PrivateEngine) -> int:
    """Bytes below the data root."""
    counted = subprocess.run(
        ["du", "-s", "--block-size=1", str(engine.data_root)], capture_output=True, text=True, check=True
    )
    return int(counted.stdout.split()[0])


if __name__ == "__main__":
    raise SystemExit(main())
