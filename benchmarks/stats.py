"""How long one reading of many containers takes, beside docker's: ``stats --no-stream`` of each engine.

``stats.py [CONTAINERS]``; the bound is 0.2 of docker's time for as many containers.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import measuring  # noqa: E402
import peers  # noqa: E402
import stage  # noqa: E402

import busybox_rootfs  # noqa: E402
from private_engine import IMAGE, PrivateEngine  # noqa: E402

ROUNDS = 7


def seconds_of(command: list[str], environment: dict[str, str], rounds: int = ROUNDS) -> float:
    """The median time of a whole process, in seconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        measuring.process(command, environment)()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def watching(engine: PrivateEngine, seconds: float = 20.0) -> float:
    """CPU time of the daemon and its supervisor in percent of a core, while nobody asks for anything."""

    def ticks() -> int:
        found = 0
        for pid in engine.processes():
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += int(words[11]) + int(words[12])
        return found

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / seconds  # a tick is 1/100 s


def main(count: int) -> None:
    """Make ``count`` containers of each engine, measure, print."""
    with ExitStack() as ending:
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        rootfs = busybox_rootfs.write(directory / "rootfs.tar")
        engine = PrivateEngine(directory / "multios", containers=count + 8)
        ending.callback(engine.end)
        engine.start()
        engine.import_small_image()
        docker = peers.available(peers.Docker, directory, rootfs, ending)
        for number in range(count):
            engine.run("run", "-d", IMAGE, "sleep", "10000")
            if docker:
                docker.start(f"stats-{number}")
        idle = watching(engine)
        ours = seconds_of(engine.command("stats", "--no-stream"), engine.environment)
        memory = measuring.pss_mb(measuring.children_of([engine.daemon_pid, engine.supervisor_pid]))
        print(f"{count} containers: stats --no-stream of ours {ours * 1000:.0f} ms")
        print(f"watching them takes {idle:.2f} % of a core; all below daemon and supervisor: {memory:.0f} MB")
        if docker:
            theirs = seconds_of([*docker.base, "stats", "--no-stream"], peers.environment(), 3)
            print(f"docker {theirs * 1000:.0f} ms; ours / docker's: {ours / theirs:.3f} (bound 0.2)")


if __name__ == "__main__":
    stage.enter()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
