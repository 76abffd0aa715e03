"""What confinement costs of a start in the warm daemon, each driver alone and all of them. Run as root.

    .venv/bin/python benchmarks/security.py

The variants take turns, so that what else the machine does falls on all of them alike; a start is measured from the
request to the answer that the command has been exec'ed. Two bounds: all by default costs at most 4 ms more than
none, and a profile of one's own at most 1 ms more than the default, from the second start on. They are held to the
lower quartiles: other work on the machine, and the wait of a v1 cgroup, only ever add.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from multios.api.client import Client
from multios_security_seccomp.default_profile import section
from private_engine import IMAGE, PrivateEngine

ROUNDS = 60
DEFAULT_BOUND, CUSTOM_BOUND = 4.0, 1.0


def custom_profile() -> str:
    """A profile of one's own as long as the default one: the same rules in docker's format, but for one call."""
    made = section(frozenset(), "x86_64", "6.1")
    rules = [
        {
            **rule,
            "names": [name for name in rule["names"] if name != "sysinfo"],
            "includes": {"minKernel": "4.8"},
        }
        for rule in made["syscalls"]
    ]
    return json.dumps({"defaultAction": made["defaultAction"], "defaultErrnoRet": 38, "syscalls": rules})


VARIANTS: dict[str, dict[str, Any]] = {
    "none": {"drivers": {"security": "none"}},
    "capabilities": {"drivers": {"security": "capabilities"}},
    "seccomp": {"drivers": {"security": "seccomp"}},
    "landlock, read=/": {
        "drivers": {"security": "landlock"},
        "security": {"profiles": {"landlock": "read=/"}},
    },
    "all by default": {},
    "all, own seccomp profile": {"security": {"seccomp_profile": custom_profile()}},
    "profile strict": {"security": {"profile": "strict"}},
}


def measure(client: Client) -> dict[str, list[float]]:
    """Milliseconds of each start, by variant."""
    for number, document in enumerate(VARIANTS.values()):
        config = {
            "name": f"v{number}",
            "image": IMAGE,
            "command": ["/bin/true"],
            "networking": {"network": "none"},
            **document,
        }
        client.call("containers.create", {"config": config})
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for round_ in range(ROUNDS + 2):
        for number, name in enumerate(VARIANTS):
            begin = time.perf_counter()
            client.call("containers.start", {"ref": f"v{number}"})
            spent = (time.perf_counter() - begin) * 1000
            client.call("containers.wait", {"ref": f"v{number}"})
            if round_ >= 2:
                times[name].append(spent)
    return times


def main() -> int:
    directory = Path(tempfile.mkdtemp(prefix="multios-security-", dir="/var/tmp"))
    engine = PrivateEngine(directory)
    try:
        engine.start()
        engine.import_small_image()
        with Client(str(engine.exec_root / "api.sock"), start=False) as client:
            times = measure(client)
    finally:
        engine.end()
        shutil.rmtree(directory, ignore_errors=True)
    medians = {name: statistics.median(values) for name, values in times.items()}
    quartiles = {name: statistics.quantiles(values, n=4)[0] for name, values in times.items()}
    print(f"{'ms of start':<26}{'median':>8}{'more':>8}{'quartile':>10}{'more':>8}")
    for name, value in medians.items():
        more = value - medians["none"], quartiles[name] - quartiles["none"]
        print(f"{name:<26}{value:>8.2f}{more[0]:>8.2f}{quartiles[name]:>10.2f}{more[1]:>8.2f}")
    default = quartiles["all by default"] - quartiles["none"]
    custom = quartiles["all, own seccomp profile"] - quartiles["all by default"]
    print(f"\nall by default against none: {default:.2f} ms (bound {DEFAULT_BOUND:g})")
    print(f"an own seccomp profile against the default one: {custom:.2f} ms (bound {CUSTOM_BOUND:g})")
    return 0 if default <= DEFAULT_BOUND and custom <= CUSTOM_BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
