"""The driver ``ns`` against the suite that third parties use."""

from __future__ import annotations

from multios.testing.isolation import IsolationDriverSuite
from multios_isolation_ns.driver import NamespaceIsolation


class TestNamespaceConformance(IsolationDriverSuite):
    driver_type = NamespaceIsolation
