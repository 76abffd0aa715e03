"""What confinement costs of a start in the warm daemon, each driver alone and all of them.

The variants take turns, so that what else the machine does falls on all of them alike; a start is measured from the
request to the answer that the command has been exec'ed. What a variant costs is held to the lower quartiles: other
work on the machine, and the wait of a v1 cgroup, only ever add.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from table import Row

from multios.api.client import Client
from multios_security_seccomp.default_profile import section
from private_engine import IMAGE, PrivateEngine

ROUNDS = 250
PAUSE = 0.03
"""Seconds before each start: a warm slot is ready again."""
DEFAULT_BOUND, CUSTOM_BOUND = 4.0, 1.0
BARE, DEFAULT, CUSTOM = "none", "all by default", "all, seccomp profile of one's own"


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
    BARE: {"drivers": {"security": "none"}},
    "capabilities": {"drivers": {"security": "capabilities"}},
    "seccomp": {"drivers": {"security": "seccomp"}},
    "landlock, read=/": {
        "drivers": {"security": "landlock"},
        "security": {"profiles": {"landlock": "read=/"}},
    },
    DEFAULT: {},
    CUSTOM: {"security": {"seccomp_profile": custom_profile()}},
    "profile strict": {"security": {"profile": "strict"}},
}


def _measure(client: Client) -> dict[str, list[float]]:
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
            time.sleep(PAUSE)
            begin = time.perf_counter()
            client.call("containers.start", {"ref": f"v{number}"})
            spent = (time.perf_counter() - begin) * 1000
            client.call("containers.wait", {"ref": f"v{number}"})
            if round_ >= 2:
                times[name].append(spent)
    return times


def rows(engine: PrivateEngine) -> list[Row]:
    """A start without any, and what each variant adds to it."""
    with Client(str(engine.exec_root / "api.sock"), start=False) as client:
        times = _measure(client)
    quartile = {name: statistics.quantiles(values, n=4)[0] for name, values in times.items()}
    bare, default = quartile[BARE], quartile[DEFAULT]
    found = [Row("`start` without security drivers, lower quartile", bare, "ms")]
    found += [
        Row(
            f"what it costs more: {name}",
            value - bare,
            "ms",
            bound=DEFAULT_BOUND if name == DEFAULT else None,
        )
        for name, value in quartile.items()
        if name != BARE
    ]
    what = "a seccomp profile of one's own instead of the default one, from the second start on"
    return [*found, Row(what, quartile[CUSTOM] - default, "ms", bound=CUSTOM_BOUND)]
