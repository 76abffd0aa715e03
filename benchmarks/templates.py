"""Measure templates, labs and courses, write results-templates.md. See README.md beside this file."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
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
import table  # noqa: E402
from table import Row  # noqa: E402

from private_engine import PrivateEngine  # noqa: E402

TEMPLATE = "python-learning"
BUILT = "BENCHMARK_TEMPLATES"
"""Directory of what was built and seconds of it, before this program went into a network namespace: building needs the network."""
MIRROR = "http://deb.debian.org/debian"
OUTPUT = HERE / "results-templates.md"
NOTE = "Medians of 20 runs, builds once each. `make bench-templates` writes this page."


def main() -> int:
    """Build outside, measure inside a network namespace of this program's own."""
    if BUILT not in os.environ:
        directory = tempfile.mkdtemp(prefix="multios-benchmark-", dir="/var/tmp")
        os.environ[BUILT] = " ".join([directory, *map(str, _built(Path(directory)))])
    stage.enter()
    directory, ours, theirs = os.environ[BUILT].split()
    try:
        with ExitStack() as ending:
            versions, rows = _measured(Path(directory), ending)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    what = f"building `{TEMPLATE}` on an engine that has nothing yet"
    rows.append(Row(what, float(ours), "s", "mmdebstrap of the same packages", float(theirs), 1.2))
    table.write(OUTPUT, "Results: templates", versions, NOTE, rows)
    return 0


def _built(directory: Path) -> tuple[float, float]:
    """Seconds of our build, which leaves ``image.tar``, and of mmdebstrap's."""
    engine = PrivateEngine(directory / "builder")
    try:
        engine.start()
        begin = time.perf_counter()
        image = engine.out("template", "build", TEMPLATE, timeout=1200)
        ours = time.perf_counter() - begin
        engine.run("image", "save", "-o", str(directory / "image.tar"), image, timeout=300)
        plan = engine.json("template", "inspect", TEMPLATE)[0]
    finally:
        engine.end()
        shutil.rmtree(directory / "builder", ignore_errors=True)
    return ours, _mmdebstrap(directory / "peer.tar", plan["packages"])


def _mmdebstrap(target: Path, packages: list[str]) -> float:
    command = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        "bookworm",
        str(target),
        MIRROR,
    ]
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    spent = time.perf_counter() - begin
    target.unlink()
    return spent


def _measured(directory: Path, ending: ExitStack) -> tuple[list[str], list[Row]]:
    engine = PrivateEngine(directory / "engine", containers=400)
    ending.callback(engine.end)
    engine.start()
    engine.run("image", "load", "-i", str(directory / "image.tar"), timeout=300)
    return [], [_second_start(engine, directory, ending)]


def _second_start(engine: PrivateEngine, directory: Path, ending: ExitStack) -> Row:
    numbers = itertools.count()

    def ours() -> None:
        name = f"second-{next(numbers)}"
        measuring.process(engine.command("create", "--template", TEMPLATE, name), engine.environment)()
        measuring.process(engine.command("start", name), engine.environment)()

    engine.run("run", "-d", "--template", TEMPLATE, "--name", "first")
    what = f"second `create --template {TEMPLATE}` and `start`"
    spent = measuring.median_ms(ours)
    engine.run("export", "-o", str(directory / "root.tar"), "first", timeout=300)
    podman = peers.available(peers.Podman, directory, directory / "root.tar", ending)
    if podman is None:
        return Row(what, spent, "ms")
    theirs = measuring.median_ms(lambda: podman.start(f"peer-{next(numbers)}"))
    return Row(what, spent, "ms", "podman run -d", theirs, 0.25)


if __name__ == "__main__":
    sys.exit(main())
