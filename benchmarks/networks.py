"""Measure networks, write results-networks.md. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import iperf  # noqa: E402
import measuring  # noqa: E402
import network_engines  # noqa: E402
import stage  # noqa: E402
import table  # noqa: E402
from cable import lay_cable  # noqa: E402
from lookups import Asker  # noqa: E402
from network_engines import Engine  # noqa: E402
from table import Row  # noqa: E402

from multios.testing.network_box import Namespace  # noqa: E402

STARTS = {"MultiOS": 100, "podman": 40, "docker": 20}
RUNS = {"MultiOS": 100, "podman": 20, "docker": 20}
CROWD, CROWD_ENDS, CROWD_ROUNDS = 250, 10, 3
CROWD_SUBNET = "10.230.0.0/24"
STREAM_ROUNDS, STREAM_SECONDS = 30, 1
LOOKUP_ROUNDS, LOOKUPS, OUTSTANDING, LOOKUP_SECONDS = 3, 1000, 8, 2.0
HOST, OUTSIDE = "10.231.0.1", "10.231.0.2"
"""Addresses on the cable between an engine's host and its outside."""
SLEEP = ("sleep", "10000")
PEERS_DIRECTORIES = (
    "/dev/shm",
    "/etc/containers/networks",
    "/etc/docker",
    "/run/containerd",
    "/run/containers",
    "/run/docker",
    "/run/libpod",
    "/run/netns",
    "/run/runc",
    "/var/lib/cni",
)
"""Where peers keep what none of their options moves elsewhere."""
PEERS_CGROUPS = ("docker", "libpod_parent")

Measured = TypeVar("Measured")
Made = TypeVar("Made")


class Laboratory:
    """On one engine: two containers on a network of their own, and a host outside, on a cable to the engine's."""

    def __init__(self, engine: Engine, ending: ExitStack) -> None:
        self.engine = engine
        engine.run("network", "create", "lab")
        ending.callback(engine.run, "network", "rm", "lab")
        serve = (iperf.PROGRAM, "--server") if iperf.installed() else SLEEP
        for name, command, port in (("server", serve, iperf.PORT), ("client", SLEEP, 0)):
            engine.begin(name, "lab", *command, port=port)
            ending.callback(engine.delete, name)
        self.server_address = engine.address("server")
        self.client = engine.namespace("client")
        ending.callback(self.client.close)
        self.outside = Namespace.new()
        ending.callback(self.outside.close)
        lay_cable(engine.place, f"{HOST}/24", self.outside, f"{OUTSIDE}/24")

    def stream(self) -> float:
        """Gbit/s over TCP from the one container to the other."""
        printed = self.engine.run("exec", "client", *_stream_to(self.server_address))
        return iperf.gigabits(printed)

    def stream_from_outside(self) -> float:
        """Gbit/s over TCP from outside to the published port."""
        with self.outside.entered():
            done = subprocess.run(_stream_to(HOST), capture_output=True, text=True, check=True, timeout=60)
        return iperf.gigabits(done.stdout)

    def asker(self) -> Asker:
        """A client in the one container that asks for the other's name; raises when it is not told."""
        asker = Asker(self.client, self.engine.name_server("client"), "server", self.server_address)
        asker.one_after_another(1)
        return asker


def _stream_to(address: str) -> list[str]:
    """Each end on a processor of its own: where the scheduler would put them changes more than the networks do."""
    processors = sorted(os.sched_getaffinity(0))
    apart = ("--affinity", f"{processors[0]},{processors[1]}") if len(processors) > 1 else ()
    return [iperf.PROGRAM, "--client", address, "--time", str(STREAM_SECONDS), "--json", *apart]


class Benchmark:
    """Ours and theirs, in one directory that is removed afterwards."""

    def __init__(self, directory: Path, ending: ExitStack) -> None:
        rootfs = iperf.write_image(directory / "rootfs.tar")
        self.ours = network_engines.ours(directory, rootfs, ending)
        podman = network_engines.podman(directory, rootfs, ending)
        docker = network_engines.docker(directory, rootfs, ending)
        self.engines: dict[str, Engine] = {one.name: one for one in (self.ours, podman, docker) if one}
        self.rows: list[Row] = []

    def measure(self) -> None:
        """Fill the table."""
        self.share_of_start()
        self.share_of_run()
        self.crowd()
        with ExitStack() as ending:
            laboratories = able(
                self.engines, "traffic", lambda engine: Laboratory(engine, ending), self.ours.name
            )
            self.streams(laboratories)
            self.lookups(laboratories)

    def versions(self) -> list[str]:
        """The peers and their versions."""
        return [f"{name} {one.version()}" for name, one in self.engines.items() if one is not self.ours]

    def add(self, row: Row) -> None:
        """Remember and show a row."""
        self.rows.append(row)
        print(f"  {row.cells()}", flush=True)

    def beside(
        self,
        what: str,
        numbers: Mapping[str, float],
        unit: str,
        bound: Mapping[str, float] | None = None,
        least: float | None = None,
    ) -> None:
        """A row for every peer that has a number; ``bound`` is by peer, ``least`` for all."""
        mine = numbers[self.ours.name]
        for name, theirs in numbers.items():
            if name != self.ours.name:
                self.add(Row(what, mine, unit, name, theirs, (bound or {}).get(name), least))

    # --- starts -------------------------------------------------------------------------------------

    def share_of_start(self) -> None:
        """What a bridge network adds to the start of a created container."""
        added = {name: added_by_bridge(one, start_ms, STARTS[name]) for name, one in self.engines.items()}
        what = "what a bridge network adds to `start`, warm daemon"
        self.add(Row(what, added[self.ours.name], "ms", bound=5))
        self.beside("the same", added, "ms", {"podman": 0.03})

    def share_of_run(self) -> None:
        """What it adds to a container that is made, runs to its end and is removed."""
        added = {name: added_by_bridge(one, run_ms, RUNS[name]) for name, one in self.engines.items()}
        self.beside("what it adds to a whole `run --rm IMAGE true`", added, "ms", {"podman": 0.03})

    def crowd(self) -> None:
        """Starts on a network that is all but full, beside those when it was empty."""
        first: list[float] = []
        last: list[float] = []
        self.ours.run("network", "create", "crowd", "--subnet", CROWD_SUBNET)
        for _ in range(CROWD_ROUNDS):
            early, late = crowd_ms(self.ours)
            first += early
            last += late
        self.ours.run("network", "rm", "crowd")
        what = f"`start` of containers {CROWD - CROWD_ENDS + 1} to {CROWD} of one network"
        self.add(
            Row(what, statistics.median(last), "ms", f"1 to {CROWD_ENDS}", statistics.median(first), 1.3)
        )

    # --- traffic ------------------------------------------------------------------------------------

    def streams(self, laboratories: Mapping[str, Laboratory]) -> None:
        """TCP between containers, and from outside."""
        if iperf.installed() is None:
            print("  throughput is left out: iperf3 is not installed")
            return
        for what, measure in (
            ("TCP from one container to another", Laboratory.stream),
            ("TCP from outside to a published port", Laboratory.stream_from_outside),
        ):
            rates = medians_by_turns(laboratories, measure, STREAM_ROUNDS)
            self.beside(what, rates, "Gbit/s", least=0.98)

    def lookups(self, laboratories: Mapping[str, Laboratory]) -> None:
        """A container's name, asked for in another."""
        askers = able(laboratories, "look-ups", Laboratory.asker, self.ours.name)
        times = medians_by_turns(askers, lambda asker: asker.one_after_another(LOOKUPS), LOOKUP_ROUNDS)
        self.add(Row("a container's name looked up", times[self.ours.name], "ms", bound=1))
        self.beside("the same", times, "ms")
        rates = medians_by_turns(
            askers, lambda asker: asker.a_second(OUTSTANDING, LOOKUP_SECONDS), LOOKUP_ROUNDS
        )
        what = f"names looked up, {OUTSTANDING} at a time"
        self.add(Row(what, rates[self.ours.name], "a second", least=5000))
        self.beside("the same", rates, "a second")


# --- how it is measured -------------------------------------------------------------------------


def milliseconds(act: Callable[..., object], *arguments: object) -> float:
    """What ``act`` takes, after a pause in which the kernel does what was left to it."""
    time.sleep(measuring.PAUSE)
    begin = time.perf_counter()
    act(*arguments)
    return (time.perf_counter() - begin) * 1000


def start_ms(engine: Engine, network: str) -> float:
    """The start of a container that was created beforehand and is removed afterwards."""
    engine.create("one", network, *SLEEP)
    taken = milliseconds(engine.start, "one")
    engine.delete("one")
    return taken


def run_ms(engine: Engine, network: str) -> float:
    """A whole ``run --rm``."""
    return milliseconds(engine.run_true, network)


def added_by_bridge(engine: Engine, measure: Callable[[Engine, str], float], pairs: int) -> float:
    """The median of how much longer it takes with the engine's bridge than without a network, pair by pair."""
    added = []
    for number in range(pairs + 2):
        networks = (engine.bridge, "none") if number % 2 else ("none", engine.bridge)
        taken = {network: measure(engine, network) for network in networks}
        if number >= 2:
            added.append(taken[engine.bridge] - taken["none"])
    return statistics.median(added)


def crowd_ms(engine: Engine) -> tuple[list[float], list[float]]:
    """The starts of the first and of the last of many containers that all go on running."""
    names = [f"crowd-{number}" for number in range(CROWD)]

    def timed(name: str) -> float:
        engine.create(name, "crowd", *SLEEP)
        return milliseconds(engine.start, name)

    first = [timed(name) for name in names[:CROWD_ENDS]]
    for name in names[CROWD_ENDS:-CROWD_ENDS]:
        engine.begin(name, "crowd", *SLEEP)
    last = [timed(name) for name in names[-CROWD_ENDS:]]
    engine.delete(*names)
    return first, last


def medians_by_turns(
    them: Mapping[str, Measured], measure: Callable[[Measured], float], rounds: int
) -> dict[str, float]:
    """The median of each, taken in turns, so that what disturbs one disturbs all; a first round does not count."""
    found: dict[str, list[float]] = {name: [] for name in them}
    names = list(them)
    for number in range(rounds + 1):
        for name in names:
            value = measure(them[name])
            if number:
                found[name].append(value)
        names.append(names.pop(0))
    return {name: statistics.median(values) for name, values in found.items()}


def able(
    them: Mapping[str, Measured], what: str, make: Callable[[Measured], Made], needed: str
) -> dict[str, Made]:
    """What is made of each; who cannot is left out, unless it is ``needed``."""
    made: dict[str, Made] = {}
    for name, one in them.items():
        try:
            made[name] = make(one)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            if name == needed:
                raise
            print(f"  {name} is left out of {what}: {error}")
    return made


def main() -> int:
    """Run everything; the exit status says only whether it could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=HERE / "results-networks.md", help="where to write the table"
    )
    output: Path = parser.parse_args().output
    stage.enter()
    # What was made is removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with tempfile.TemporaryDirectory(prefix="multios-bench-", dir="/var/tmp") as name, ExitStack() as ending:
        for path in PEERS_DIRECTORIES:
            ending.enter_context(stage.private_directory(Path(path)))
        for group in PEERS_CGROUPS:
            ending.enter_context(stage.passing_cgroup(group))
        benchmark = Benchmark(Path(name), ending)
        benchmark.measure()
        note = (
            f"What a network adds: medians of {STARTS['MultiOS']} pairs of ours, {STARTS['podman']} starts and "
            f"{RUNS['podman']} runs of podman's, {STARTS['docker']} of docker's. "
            f"TCP: medians of {STREAM_ROUNDS} times {STREAM_SECONDS} s. `make bench-networks` writes this page."
        )
        table.write(output, "Results for networks", benchmark.versions(), note, benchmark.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
