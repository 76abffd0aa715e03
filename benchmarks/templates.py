"""Measure templates, labs and courses, write results-templates.md. See README.md beside this file."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import courses  # noqa: E402
import measuring  # noqa: E402
import peers  # noqa: E402
import stage  # noqa: E402
import table  # noqa: E402
from table import Row  # noqa: E402

import busybox_rootfs  # noqa: E402
from multios.api.client import Client  # noqa: E402
from private_engine import PrivateEngine  # noqa: E402

TEMPLATE = "python-learning"
BUILT = "BENCHMARK_TEMPLATES"
"""Directory of what was built and seconds of it, before this program went into a network namespace: building needs the network."""
MIRROR = "http://deb.debian.org/debian"
OUTPUT = HERE / "results-templates.md"
NOTE = "Medians of 20 runs, builds once each, the class the fastest of three. `make bench-templates` writes this page."


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
    return [_version("podman"), _version("mmdebstrap")], [
        _second_start(engine, directory, ending),
        *_resets(engine, directory),
        *_class(engine, directory),
    ]


def _version(program: str) -> str:
    """``podman 4.3.1``; that it is not there, where it is not."""
    if shutil.which(program) is None:
        return f"no {program}"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{program} {said.split()[-1]}"


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


BIG = "big:1"
FILES, FILE_BYTES = 64, 16 << 20
"""Of the image that is reset: 1 GiB of what does not compress."""

CHANGES = {
    "nothing was changed": "true",
    "5,000 files were made": "i=0; while [ $i -lt 5000 ]; do echo x > /etc/f$i; i=$((i+1)); done",
    "all of 256 MB was written again": "for f in /srv/f1?; do cat $f > /tmp/x; mv /tmp/x $f; done",
    "every program was deleted": "rm -rf /usr /etc /home /srv; exit 0",
}


def _resets(engine: PrivateEngine, directory: Path) -> list[Row]:
    """Milliseconds of a request through a connection that is there, the container running before and after."""
    _import_big(engine, directory)
    engine.run("run", "-d", "--name", "reset", BIG, "sleep", "1000000")
    rows = []
    with Client(str(engine.exec_root / "api.sock")) as client:
        for what, command in CHANGES.items():
            times = []
            for _ in range(measuring.RUNS):
                engine.run("exec", "reset", "sh", "-c", command, timeout=120)
                begin = time.perf_counter()
                client.call("containers.reset", {"ref": "reset"})
                times.append((time.perf_counter() - begin) * 1000)
            rows.append(
                Row(f"`lab reset` on an image of 1 GB, {what}", statistics.median(times), "ms", bound=100)
            )
    return rows


def _import_big(engine: PrivateEngine, directory: Path) -> None:
    archive = busybox_rootfs.write(directory / "big.tar")
    with tarfile.open(archive, "a") as file:
        for number in range(FILES):
            entry = tarfile.TarInfo(f"srv/f{number:02}")
            entry.size = FILE_BYTES
            file.addfile(entry, io.BytesIO(os.urandom(FILE_BYTES)))
    engine.run("image", "import", str(archive), BIG, timeout=300)
    archive.unlink()


def _class(engine: PrivateEngine, directory: Path) -> list[Row]:
    """Seconds of ``course start`` for 200, the fastest of three, and what a machine takes before it writes."""
    folder = directory / "class"
    folder.mkdir()
    rounds = [courses.measure(engine, folder, 200, TEMPLATE) for _ in range(3)]
    return [
        Row(
            f"200 machines of `{TEMPLATE}`, created and started",
            min(one.started for one in rounds),
            "s",
            bound=8,
        ),
        Row(
            "disk that each takes before it writes", max(one.each for one in rounds) / 1000, "kB", bound=1000
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
