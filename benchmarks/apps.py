"""Measure apps of several containers, write results-apps.md. See README.md beside this file."""

from __future__ import annotations

import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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

OURS = "MultiOS"
OUTPUT = HERE / "results-apps.md"
SERVICES = 10
DOCKER_COMPOSE, PODMAN_COMPOSE = "docker-compose", "podman-compose"
ROUNDS, UNCHANGED_ROUNDS = 10, 20
FEW_ROUNDS = {PODMAN_COMPOSE: 2}
"""Of a peer that takes many seconds a round."""
PEERS_DIRECTORIES = (
    "/dev/shm", "/etc/cni/net.d", "/etc/docker", "/run/containerd", "/run/containers", "/run/docker", "/run/libpod",
    "/run/netns", "/run/runc", "/var/lib/cni",
)  # fmt: skip
"""Where peers keep what none of their options moves elsewhere."""
PEERS_CGROUPS = ("docker", "libpod_parent")
NOTE = (
    f"{SERVICES} services of one image on one network, the same file for all. Medians of {ROUNDS} times up and down and "
    f"{UNCHANGED_ROUNDS} times up with nothing changed ({FEW_ROUNDS[PODMAN_COMPOSE]} of podman-compose), whole commands, in "
    "turns. `make bench-apps` writes this page."
)


class Compose:
    """A program that brings the app up and takes it down."""

    def __init__(self, name: str, version: str, base: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name, self.version, self._base, self._environment = name, version, base, environment

    def up(self) -> None:
        """Until all run."""
        self._process("up", "-d")

    def down(self) -> None:
        """Killed at once and removed, the network too."""
        self._process("down", "-t", "0")

    def _process(self, *words: str) -> None:
        measuring.process([*self._base, *words], self._environment)()


def app_file() -> str:
    """The peers may not raise limits on a host without CAP_SYS_RESOURCE, so the file says what they are."""
    lines = ['version: "3.7"', "services:"]
    for number in range(SERVICES):
        lines += [
            f"  service-{number}:",
            f"    image: {peers.IMAGE}",
            "    command: [sleep, '10000']",
            "    ulimits: {nofile: {soft: 1024, hard: 1024}, nproc: 4096}",
        ]
    return "\n".join([*lines, ""])


def ours(directory: Path, rootfs: Path, file: Path, ending: ExitStack) -> Compose:
    """This engine with a daemon of its own."""
    engine = PrivateEngine(directory / "multios")
    ending.callback(engine.end)
    engine.start()
    engine.run("image", "import", "-", peers.IMAGE, input=rootfs.read_bytes())
    version = engine.out("--version").split()[-1]
    return Compose(OURS, version, engine.command("app", "-f", str(file)), engine.environment)


def docker(directory: Path, rootfs: Path, file: Path, ending: ExitStack) -> Compose | None:
    """docker-compose with a daemon that is started for it, if both are installed."""
    program = shutil.which("docker-compose")
    peer = peers.available(peers.Docker, directory, rootfs, ending) if program else None
    if program is None or peer is None:
        return None
    version = f"{peers.quietly(program, 'version', '--short')} with docker {peer.version()}"
    return Compose(
        DOCKER_COMPOSE, version, [program, "--file", str(file)], peers.environment() | {"DOCKER_HOST": peer.base[-1]}
    )  # fmt: skip


def podman(directory: Path, rootfs: Path, file: Path, ending: ExitStack) -> Compose | None:
    """podman-compose with a podman that has its own root, if both are installed."""
    program = shutil.which("podman-compose")
    peer = peers.available(peers.Podman, directory, rootfs, ending) if program else None
    if program is None or peer is None:
        return None
    wrapper = directory / "podman-here"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(peer.base)} "$@"\n')
    wrapper.chmod(0o755)
    version = f"of Debian with podman {peer.version()}"
    return Compose(
        PODMAN_COMPOSE, version, [program, "--podman-path", str(wrapper), "--file", str(file)], peers.environment()
    )  # fmt: skip


def milliseconds(act: Callable[[], None]) -> float:
    """What ``act`` takes, after a pause in which the kernel does what was left to it."""
    time.sleep(measuring.PAUSE)
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) * 1000


def measured(them: Sequence[Compose]) -> list[Row]:
    """A row a measurement and peer."""
    times: dict[tuple[str, str], list[float]] = {}

    def note(what: str, one: Compose, act: Callable[[], None]) -> None:
        times.setdefault((what, one.name), []).append(milliseconds(act))

    for one in in_turns(them, ROUNDS):
        note("up", one, one.up)
        note("down", one, one.down)
    for one in them:
        one.up()
    for one in in_turns(them, UNCHANGED_ROUNDS):
        note("unchanged", one, one.up)
    for one in them:
        one.down()
    return rows({key: statistics.median(values[1:]) for key, values in times.items()}, them)


def in_turns(them: Sequence[Compose], rounds: int) -> Iterator[Compose]:
    """Who is next: what disturbs one disturbs all. A first round more, which does not count."""
    for number in range(rounds + 1):
        yield from (one for one in them if number <= FEW_ROUNDS.get(one.name, rounds))


def rows(medians: Mapping[tuple[str, str], float], them: Sequence[Compose]) -> list[Row]:
    """A row for every peer."""
    made = []
    for key, what, bounds in (
        ("up", f"`app up -d` of {SERVICES} services, image present", {DOCKER_COMPOSE: 0.15, PODMAN_COMPOSE: 0.15}),
        ("unchanged", "the same with nothing changed", {DOCKER_COMPOSE: 0.1}),
        ("down", "`app down` of them", {}),
    ):  # fmt: skip
        mine = medians[key, OURS]
        theirs = [one.name for one in them if one.name != OURS]
        made += [Row(what, mine, "ms", name, medians[key, name], bounds.get(name)) for name in theirs]
        made += [] if theirs else [Row(what, mine, "ms")]
    return made


def main() -> int:
    """Run everything; the exit status says only whether it could be measured."""
    stage.enter()
    # What was made is removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with tempfile.TemporaryDirectory(prefix="multios-bench-", dir="/var/tmp") as name, ExitStack() as ending:
        for path in PEERS_DIRECTORIES:
            ending.enter_context(stage.private_directory(Path(path)))
        for group in PEERS_CGROUPS:
            ending.enter_context(stage.passing_cgroup(group))
        directory = Path(name)
        rootfs = busybox_rootfs.write(directory / "rootfs.tar")
        file = directory / "shop" / "compose.yaml"
        file.parent.mkdir()
        file.write_text(app_file())
        makers = (ours, docker, podman)
        them = [one for make in makers if (one := make(directory, rootfs, file, ending)) is not None]
        versions = [f"{one.name} {one.version}" for one in them if one.name != OURS]
        table.write(OUTPUT, "Results for apps", versions, NOTE, measured(them))
    return 0


if __name__ == "__main__":
    sys.exit(main())
