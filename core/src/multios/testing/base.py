"""What every driver's suite has: how the driver is made, skips by declared capability, tests of the common contract."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from multios import typed_table
from multios.drivers.base import Capability, DriverContext
from multios.errors import InvalidInput
from multios.model.health import HealthCheck
from multios.plugins import contract

HEAVY = ("pyroute2", "pyseccomp", "asyncio", "ssl", "sqlite3", "click", "aiohttp", "requests")
"""What importing a driver's class must not bring along: the daemon imports every plugin for a listing."""
HEALTH_SECONDS = 2.0


class DriverSuite:
    """Subclassed by every kind's suite; name the driver class, and its settings if the defaults do not do."""

    driver_type: ClassVar[Any]
    """A subclass of :class:`multios.drivers.base.Driver`; each suite narrows it to its kind."""
    driver_settings: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def context(self, tmp_path: Path) -> DriverContext:
        """Two fresh directories and no supervisor."""
        for name in ("state", "runtime"):
            (tmp_path / name).mkdir(exist_ok=True)
        return DriverContext(state=tmp_path / "state", runtime=tmp_path / "runtime")

    @pytest.fixture
    def driver(self, context: DriverContext) -> Iterator[Any]:
        """The driver under test; a ``close`` method, if it has one, is called afterwards."""
        settings: Any = typed_table.read(self.driver_type.Settings, self.driver_settings, "driver_settings.")
        made = self.driver_type(settings, context)
        yield made
        if close := getattr(made, "close", None):
            close()

    def require(self, capability: Capability) -> None:
        """Skip the test of a driver that does not declare ``capability``."""
        if capability not in self.driver_type.capabilities:
            pytest.skip(f"this driver does not declare {capability}")

    def test_the_class_fulfils_its_contract(self) -> None:
        contract.check(self.driver_type.kind, self.driver_type.name, self.driver_type)

    def test_it_says_in_one_line_what_it_is(self) -> None:
        assert self.driver_type.summary
        assert "\n" not in self.driver_type.summary

    def test_an_unknown_setting_is_refused_by_name(self) -> None:
        with pytest.raises(InvalidInput, match="no_such_setting"):
            typed_table.read(self.driver_type.Settings, {"no_such_setting": 1}, "driver_settings.")

    def test_health_checks_are_quick_and_well_formed(self) -> None:
        seconds = []
        for _ in range(3):  # the quickest counts: on a busy machine others take their turns too
            begun = time.monotonic()
            checks = list(self.driver_type.health_checks())
            seconds.append(time.monotonic() - begun)
        assert min(seconds) < HEALTH_SECONDS
        for check in checks:
            assert isinstance(check, HealthCheck)
            assert check.subject
            assert check.detail

    def test_importing_the_class_is_light(self) -> None:
        module = self.driver_type.__module__
        code = f"import sys, multios.drivers.base; sys.path[:] = {sys.path!r}; import {module}"
        code += f"; print(*[name for name in {HEAVY!r} if name in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        if "ModuleNotFoundError" in done.stderr and module in done.stderr:
            pytest.skip(f"{module} is a test's own module")
        assert done.returncode == 0, done.stderr
        assert not done.stdout.split(), "move these imports into a module beside the class"
