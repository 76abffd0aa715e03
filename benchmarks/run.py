"""Measure, compare with the bounds, write results.md. See README.md beside this file."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import measuring  # noqa: E402
import peers  # noqa: E402
import stage  # noqa: E402
import table  # noqa: E402
from table import Row  # noqa: E402

import busybox_rootfs  # noqa: E402
from private_engine import PrivateEngine  # noqa: E402

CONTAINERS = 50


class Benchmark:
    """Ours and theirs, in one directory that is removed afterwards."""

    def __init__(self, directory: Path, ending: ExitStack) -> None:
        rootfs = busybox_rootfs.write(directory / "rootfs.tar")
        self.engine = PrivateEngine(directory / "multios", containers=1100)
        ending.callback(self.engine.end)
        self.engine.start()
        self.engine.import_small_image()
        self.podman = peers.available(peers.Podman, directory, rootfs, ending)
        self.docker = peers.available(peers.Docker, directory, rootfs, ending)
        self.runc = peers.available(peers.Runc, directory, rootfs, ending)
        self.rows: list[Row] = []

    def measure(self) -> None:
        """Fill the table."""
        self.idle_memory()
        for pause, when in ((0.0, "back to back"), (measuring.PAUSE, "100 ms between runs")):
            self.run_once(pause, when)
            self.run_warm(pause, when)
        self.exec_once()
        self.memory_per_container()
        self.listing()

    def add(self, row: Row) -> None:
        """Remember and show a row."""
        self.rows.append(row)
        print(f"  {row.cells()}", flush=True)

    def timed(self, command: list[str], pause: float = 0.0) -> float:
        return measuring.median_ms(measuring.process(command, peers.environment()), pause)

    def ours(self, *words: str) -> Callable[[], None]:
        return measuring.process(self.engine.command(*words), self.engine.environment)

    def run_once(self, pause: float, when: str) -> None:
        """A whole `run --rm` with the default network."""
        mine = measuring.median_ms(self.ours("run", "--rm", "small:1", "true"), pause)
        what = f"`run --rm IMAGE true`, bridge network, {when}"
        for peer, bound in ((self.podman, 0.12), (self.docker, None)):
            if peer is not None:
                self.add(Row(what, mine, "ms", f"{peer.name} run", self.timed(peer.run_once(), pause), bound))
        if self.podman is None and self.docker is None:
            self.add(Row(what, mine, "ms"))

    def run_warm(self, pause: float, when: str) -> None:
        """The same from a Python process that has its connection."""
        from multios import connect

        with connect(str(self.engine.exec_root / "api.sock")) as client:

            def act() -> None:
                finished = client.run(image="small:1", command=["true"])
                assert finished.exit_code == 0

            mine = measuring.median_ms(act, pause)
        theirs = self.timed(self.runc.run_once(), pause) if self.runc else None
        name = "runc run, no network" if self.runc else ""
        self.add(
            Row(f"the same through `connect()`, {when}", mine, "ms", name, theirs, 0.4 if theirs else None)
        )

    def exec_once(self) -> None:
        """A whole `exec`."""
        self.engine.run("run", "-d", "--name", "bench", "small:1", "sleep", "10000")
        mine = measuring.median_ms(self.ours("exec", "bench", "true"))
        for peer, bound in ((self.docker, 0.5), (self.podman, None)):
            if peer is not None:
                peer.start("bench")
                theirs = self.timed(peer.exec_once("bench"))
                self.add(Row("`exec NAME true`", mine, "ms", f"{peer.name} exec", theirs, bound))
        if self.docker is None and self.podman is None:
            self.add(Row("`exec NAME true`", mine, "ms"))
        self.engine.run("delete", "--force", "bench")

    def idle_memory(self) -> None:
        """Daemon and supervisor, after one container has come and gone."""
        self.engine.run("run", "--rm", "small:1", "true")
        self.add(Row("daemon and supervisor, idle (PSS)", self.settled_memory(), "MB", bound=60))

    def settled_memory(self) -> float:
        """The PSS of our processes once children that come and go have gone."""
        readings = []
        for _ in range(5):
            time.sleep(0.5)
            readings.append(measuring.pss_mb(self.engine.processes()))
        return statistics.median(readings)

    def memory_per_container(self) -> None:
        """What our processes grow by with many containers; theirs by what daemon and shims grow by."""
        before = self.settled_memory()
        for number in range(CONTAINERS):
            self.engine.run("run", "-d", "--name", f"many-{number}", "small:1", "sleep", "10000")
        grown = self.settled_memory() - before
        self.add(
            Row(f"our processes, per container of {CONTAINERS} (PSS)", grown / CONTAINERS, "MB", bound=0.2)
        )

    def listing(self) -> None:
        """`ps --all` with ten containers and with a thousand."""
        names = [f"many-{number}" for number in range(CONTAINERS)]
        self.engine.run("delete", "--force", *names[10:], timeout=300)
        few = measuring.median_ms(self.ours("ps", "--all"))
        from multios import connect

        with connect(str(self.engine.exec_root / "api.sock")) as client:
            for number in range(990):
                client.call("containers.create", {"config": {"name": f"made-{number}", "image": "small:1"}})
        many = measuring.median_ms(self.ours("ps", "--all"))
        self.add(Row("`ps --all` with 1,000 containers", many, "ms", "with 10", few, 2.0))
        running = measuring.median_ms(self.ours("ps"))
        self.add(Row("`ps` (10 of 1,000 run)", running, "ms", "`ps --all` with 10", few, 2.0))


def main() -> int:
    """Run everything; the exit status says only whether it could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE / "results.md", help="where to write the table")
    output: Path = parser.parse_args().output
    stage.enter()
    with tempfile.TemporaryDirectory(prefix="multios-bench-", dir="/var/tmp") as name, ExitStack() as ending:
        benchmark = Benchmark(Path(name), ending)
        benchmark.measure()
        programs = [one for one in (benchmark.podman, benchmark.docker, benchmark.runc) if one]
        versions = [f"{one.name} {one.version()}" for one in programs]
        note = f"Medians of {measuring.RUNS} runs. `make bench` writes this page."
        table.write(output, "Results", versions, note, benchmark.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
