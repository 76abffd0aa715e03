"""The vfs driver against the suite that third parties use."""

from __future__ import annotations

from multios.testing.storage import StorageDriverSuite
from multios_storage_vfs import VfsStorage


class TestVfsConformance(StorageDriverSuite):
    driver_type = VfsStorage
