"""The bridge driver against the suite that third parties use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.testing.network import Namespace, NetworkDriverSuite
from multios_net_bridge import BridgeNetwork, BridgeSettings


class TestBridgeConformance(NetworkDriverSuite):
    @pytest.fixture
    def driver(self, host: Namespace, tmp_path: Path) -> Iterator[BridgeNetwork]:  # type: ignore[override]
        made = BridgeNetwork(BridgeSettings(), DriverContext(tmp_path, tmp_path))
        yield made
        made.close()
