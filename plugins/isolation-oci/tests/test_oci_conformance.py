"""The driver ``oci`` against the suite that third parties use, over each runtime that this host has."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import ClassVar

import pytest

from multios.drivers.base import DriverContext
from multios.drivers.isolation import IsolationDriver
from multios.supervisor.client import Supervisor
from multios.testing.isolation import IsolationDriverSuite
from multios_isolation_oci.driver import RuntimeIsolation, Settings
from multios_isolation_oci.health import refuses_this_host


class OverRuntime(IsolationDriverSuite):
    driver_type = RuntimeIsolation
    runtime: ClassVar[str]

    @pytest.fixture
    def driver(self, supervisor: Supervisor, tmp_path: Path) -> IsolationDriver:
        found = shutil.which(self.runtime) or shutil.which(self.runtime, path=sysconfig.get_path("scripts"))
        if found is None:
            pytest.skip(f"this host has no {self.runtime}")
        if reason := refuses_this_host(self.runtime):
            pytest.skip(f"this host does not suit {self.runtime}: {reason}")
        for name in ("state", "runtime"):
            (tmp_path / name).mkdir()
        context = DriverContext(tmp_path / "state", tmp_path / "runtime", supervisor)
        return RuntimeIsolation(Settings(found), context)


class TestOverRunc(OverRuntime):
    runtime = "runc"


class TestOverCrun(OverRuntime):
    runtime = "crun"


class TestOverOurOwnRuntime(OverRuntime):
    runtime = "multios-oci-runtime"


del OverRuntime, IsolationDriverSuite
