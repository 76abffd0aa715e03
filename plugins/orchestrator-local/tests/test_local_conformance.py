"""The conformance kit, against a real engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine_calls import EngineCalls
from multios.drivers.base import DriverContext
from multios.testing.orchestrator import OrchestratorDriverSuite
from multios_orchestrator_local import LocalOrchestrator

pytestmark = pytest.mark.needs_root


class TestConformance(OrchestratorDriverSuite):
    driver_type = LocalOrchestrator

    @pytest.fixture
    def context(self, tmp_path: Path, calls: EngineCalls) -> DriverContext:
        return replace(DriverContext(state=tmp_path, runtime=tmp_path), engine=calls)

    @pytest.fixture
    def container(self) -> Mapping[str, Any]:
        return {"image": "small:1", "command": ["sleep", "1000"]}
