"""What ``doctor`` says of pasta on this host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from multios.model.health import Health, HealthCheck
from multios_net_pasta.places import INSTALL, PROGRAM

_TUN = Path("/dev/net/tun")


def checks() -> Iterator[HealthCheck]:
    """Quick, and nothing is changed."""
    found = shutil.which(PROGRAM)
    if found:
        yield HealthCheck("pasta", Health.OK, found)
    else:
        yield HealthCheck("pasta", Health.SKIP, "not installed: no network but none without root", INSTALL)
    if not _TUN.exists():
        yield HealthCheck("pasta /dev/net/tun", Health.SKIP, "not there", "modprobe tun")
    elif os.access(_TUN, os.R_OK | os.W_OK):
        yield HealthCheck("pasta /dev/net/tun", Health.OK, "may be opened")
    else:
        yield HealthCheck(
            "pasta /dev/net/tun", Health.SKIP, "may not be opened by this user", "chmod 0666 /dev/net/tun"
        )
