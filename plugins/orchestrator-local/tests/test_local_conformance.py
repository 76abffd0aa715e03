"""The conformance kit, against a real engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine_calls import EngineCalls
from multios.drivers.base import DriverContext
from multios.testing.orchestrator import OrchestratorDriverSuite
from multios_orchestrator_local import LocalOrchestrator
from private_engine import PrivateEngine

pytestmark = pytest.mark.needs_root


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine with the image ``small:1``."""
    engine = PrivateEngine(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        engine.import_small_image()
        yield engine
    finally:
        engine.end()


class TestConformance(OrchestratorDriverSuite):
    driver_type = LocalOrchestrator

    @pytest.fixture
    def context(self, tmp_path: Path, engine: PrivateEngine) -> DriverContext:
        calls = EngineCalls(engine.exec_root / "api.sock")
        return replace(DriverContext(state=tmp_path, runtime=tmp_path), engine=calls)

    @pytest.fixture
    def container(self) -> Mapping[str, Any]:
        return {"image": "small:1", "command": ["sleep", "1000"]}
