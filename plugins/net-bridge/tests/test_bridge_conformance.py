"""The bridge driver against the suite that third parties use."""

from __future__ import annotations

from multios.testing.network import NetworkDriverSuite
from multios_net_bridge import BridgeNetwork


class TestBridgeConformance(NetworkDriverSuite):
    driver_type = BridgeNetwork
