"""The overlay driver against the suite that third parties use."""

from __future__ import annotations

from multios.testing.storage import StorageDriverSuite
from multios_storage_overlay import OverlayStorage


class TestOverlayConformance(StorageDriverSuite):
    driver_type = OverlayStorage
