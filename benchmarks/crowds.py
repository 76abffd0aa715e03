"""Many containers at once: how long one reading of all takes beside docker's, and what of ours they need."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import measuring
import peers
from table import Row

from multios.api.client import Client
from private_engine import IMAGE, PrivateEngine

READ, HELD = 200, 500
"""Containers whose statistics are read, and for which memory is counted."""
ROUNDS = 7
SUBNET = "10.220.0.0/16"
STATS_BOUND, MEMORY_BOUND = 0.2, 100.0


def rows(engine: PrivateEngine, docker: peers.Docker | None) -> list[Row]:
    """``stats --no-stream`` of :data:`READ` containers, then ours of :data:`HELD`; docker's are left running."""
    engine.run("network", "create", "--subnet", SUBNET, "crowd")
    _run(engine, READ)
    reading = _milliseconds(measuring.process(engine.command("stats", "--no-stream"), engine.environment))
    idle = _percent_of_a_core(engine)
    what = f"`stats --no-stream` of {READ} containers"
    found = [Row(what, reading, "ms")]
    if docker:
        for number in range(READ):
            docker.start(f"crowd-{number}")
        command = [*docker.base, "stats", "--no-stream"]
        theirs = _milliseconds(measuring.process(command, peers.environment()), rounds=3)
        found = [Row(what, reading, "ms", "docker", theirs, STATS_BOUND)]
    found.append(Row(f"{READ} containers, nobody asks: daemon and supervisor", idle, "% of a core"))
    _run(engine, HELD - READ, READ)
    memory = measuring.pss_mb(engine.processes())
    found.append(
        Row(f"{HELD} running containers: all processes of ours (PSS)", memory, "MB", bound=MEMORY_BOUND)
    )
    return found


def _run(engine: PrivateEngine, count: int, first: int = 0) -> None:
    with Client(str(engine.exec_root / "api.sock"), start=False) as client:
        for number in range(first, first + count):
            config = {"name": f"crowd-{number}", "image": IMAGE, "command": ["sleep", "10000"]}
            networking = {"networking": {"network": "crowd"}}
            client.call("containers.create", {"config": {**config, **networking}})
            client.call("containers.start", {"ref": f"crowd-{number}"})


def _milliseconds(act: Callable[[], None], rounds: int = ROUNDS) -> float:
    """The median of whole processes."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        act()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


def _percent_of_a_core(engine: PrivateEngine, seconds: float = 20.0) -> float:
    """CPU time of our processes while nobody asks for anything."""

    def ticks() -> int:
        found = 0
        for pid in engine.processes():
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += int(words[11]) + int(words[12])
        return found

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / seconds  # a tick is 1/100 s
