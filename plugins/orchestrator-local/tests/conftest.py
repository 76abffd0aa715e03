"""An engine for the tests of the orchestrator, with the image ``small:1``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine_calls import EngineCalls
from private_engine import PrivateEngine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """One for the tests of a module."""
    engine = PrivateEngine(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        engine.import_small_image()
        yield engine
    finally:
        engine.end()


@pytest.fixture
def calls(engine: PrivateEngine) -> EngineCalls:
    """Its API."""
    return EngineCalls(engine.exec_root / "api.sock")
