"""Measure confinement, write results-confinement.md. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import crowds  # noqa: E402
import limits  # noqa: E402
import peers  # noqa: E402
import security  # noqa: E402
import stage  # noqa: E402
import table  # noqa: E402
from table import Row  # noqa: E402

import busybox_rootfs  # noqa: E402
from private_engine import PrivateEngine  # noqa: E402

OUTPUT = HERE / "results-confinement.md"
MACHINE = "BENCHMARK_MACHINE_LIMITS"
"""The machine's tables, which were made before this program went into a network namespace: making a machine needs the network."""
NOTE = f"Starts: {security.ROUNDS} of each kind, in turns. `make bench-confinement` writes this page."


def main() -> int:
    """Measure what was asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--vm",
        action="store_true",
        help="also the limits on cgroup v1 and v2, in the machine of make test-vm",
    )
    if parser.parse_args().vm and MACHINE not in os.environ:
        os.environ[MACHINE] = "\n".join(_in_the_machine(kind) for kind in ("v1", "v2"))
    stage.enter()
    with ExitStack() as ending:
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        versions, rows = _measured(directory, ending)
    tables = [limits.table(), os.environ.get(MACHINE, "")]
    table.write(
        OUTPUT,
        "Results: confinement",
        versions,
        NOTE,
        rows,
        "\n## Limits\n\n" + "\n".join(filter(None, tables)),
    )
    return 0


def _measured(directory: Path, ending: ExitStack) -> tuple[list[str], list[Row]]:
    engine = PrivateEngine(directory / "multios", containers=crowds.HELD + 100)
    ending.callback(engine.end)
    engine.start()
    engine.import_small_image()
    rows = security.rows(engine)
    docker = peers.available(peers.Docker, directory, busybox_rootfs.write(directory / "rootfs.tar"), ending)
    rows += crowds.rows(engine, docker)
    return [f"docker {docker.version()}"] if docker else [], rows


def _in_the_machine(kind: str) -> str:
    command = [str(HERE.parent / "scripts/test-vm"), "--run", "benchmarks/limits.py"]
    environment = {**os.environ, "MULTIOS_VM_CGROUP": kind}
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True).stdout
    return "".join(f"{line}\n" for line in printed.splitlines() if line.startswith("|"))


if __name__ == "__main__":
    sys.exit(main())
