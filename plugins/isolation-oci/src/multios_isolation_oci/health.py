"""What ``doctor`` shows for this driver."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from multios.cgroups.hierarchy import Hierarchy
from multios.model.health import Health, HealthCheck

RUNTIMES = ("runc", "crun", "runsc", "multios-oci-runtime")


def checks() -> Iterator[HealthCheck]:
    """One line a runtime that is there; nothing is changed."""
    found = [name for name in RUNTIMES if shutil.which(name)]
    if not found:
        yield HealthCheck("OCI runtime", Health.SKIP, "none is installed", "apt install runc")
    for name in found:
        yield _check(name)


def refuses_this_host(name: str) -> str:
    """Why a runtime cannot work here, as far as is known; empty if nothing is."""
    if name == "crun" and Hierarchy.find().mode == "hybrid":
        return "crun refuses hosts whose cgroups are hybrid (v1 controllers and a v2 hierarchy)"
    return ""


def _check(name: str) -> HealthCheck:
    subject = f"OCI runtime {name}"
    reason = refuses_this_host(name)
    if reason:
        return HealthCheck(subject, Health.SKIP, reason, "use runc")
    try:
        done = subprocess.run([name, "--version"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired) as error:
        return HealthCheck(subject, Health.FAIL, f"cannot be run: {error}", "install it again")
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return HealthCheck(
            subject, Health.FAIL, f"--version ends with status {done.returncode}", "install it again"
        )
    return HealthCheck(subject, Health.OK, lines[0])
