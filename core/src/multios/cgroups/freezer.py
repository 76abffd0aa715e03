"""Freezing every process of a group (kernel: cgroup-v1/freezer-subsystem, cgroup-v2 ``cgroup.freeze``)."""

from __future__ import annotations

import os
import time

from multios.cgroups.hierarchy import Hierarchy, read, write
from multios.errors import NotFound, StepFailed, Unsupported

FREEZE_SECONDS = 5.0


def freeze(hierarchy: Hierarchy, name: str) -> None:
    """Stop every process and return when all stand still.

    One that does not stop within ``FREEZE_SECONDS`` (uninterruptible in the kernel) raises ``StepFailed``
    and the group is thawed again.
    """
    path, old = _control(hierarchy, name)
    end = time.monotonic() + FREEZE_SECONDS
    pause = 0.0005
    try:
        write(path, "FROZEN" if old else "1")
        while not frozen(hierarchy, name):
            if time.monotonic() > end:
                raise StepFailed(
                    "freeze", f"processes of {name} did not stop within {FREEZE_SECONDS:g} seconds"
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
            if old:
                write(path, "FROZEN")  # v1 may stay FREEZING until asked again
    except (OSError, StepFailed) as error:
        thaw(hierarchy, name)
        if isinstance(error, OSError):
            raise StepFailed("freeze", f"{error.strerror} ({path})") from error
        raise


def thaw(hierarchy: Hierarchy, name: str) -> None:
    """Let the processes run on; one that is not frozen is no error."""
    path, old = _control(hierarchy, name)
    try:
        write(path, "THAWED" if old else "0")
    except OSError as error:
        raise StepFailed("thaw", f"{error.strerror} ({path})") from error


def frozen(hierarchy: Hierarchy, name: str) -> bool:
    """Whether all processes stand still."""
    path, old = _control(hierarchy, name)
    if old:
        return read(path).strip() == "FROZEN"
    return "frozen 1" in read(os.path.dirname(path) + "/cgroup.events").splitlines()


def _control(hierarchy: Hierarchy, name: str) -> tuple[str, bool]:
    """The file that is written, and whether it is v1's."""
    if not hierarchy.exists(name):
        raise NotFound(f"no cgroup {name!r}")
    if "freezer" in hierarchy.v1:
        return f"{hierarchy.path('freezer', name)}/freezer.state", True
    directory = hierarchy.path("unified", name)
    if not directory or not os.path.exists(directory + "/cgroup.freeze"):
        raise Unsupported(
            "pause: this host has neither the cgroup controller 'freezer' nor cgroup.freeze",
            "Linux 5.2 with cgroup v2 has it",
        )
    return f"{directory}/cgroup.freeze", False
