"""What the supervisor and the plugin list pay for this plugin."""

from __future__ import annotations

import subprocess
import sys


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after ``statement``, without those that a start loads."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_launcher_is_light() -> None:
    heavy = {"dataclasses", "pathlib", "logging", "re", "base64", "inspect", "subprocess", "threading"}
    assert not modules_after("import multios_isolation_ns.launch") & heavy


def test_the_launcher_is_imported_without_the_driver() -> None:
    loaded = modules_after("import multios_isolation_ns.launch")
    assert not {name for name in loaded if name.startswith("multios_isolation_ns.")} - {
        "multios_isolation_ns.launch",
        "multios_isolation_ns.filesystem",
        "multios_isolation_ns.own_program",
        "multios_isolation_ns.mandatory",
        "multios_isolation_ns.privileges",
        "multios_isolation_ns.reaper",
    }


def test_listing_the_driver_loads_no_heavy_part() -> None:
    loaded = modules_after("import multios_isolation_ns.driver")
    assert not {"pyseccomp", "multios_isolation_ns.containers", "multios_isolation_ns.seccomp"} & loaded
