"""The conformance kit, on an API server of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kubernetes_server import Server
from multios import typed_table
from multios.drivers.base import DriverContext
from multios.testing.orchestrator import OrchestratorDriverSuite
from multios_orchestrator_kubernetes import KubernetesOrchestrator

pytestmark = pytest.mark.needs_root


class TestConformance(OrchestratorDriverSuite):
    driver_type = KubernetesOrchestrator
    unit: ClassVar[str] = "Deployment"

    @pytest.fixture
    def driver(self, context: DriverContext, server: Server, root: Path, tmp_path: Path) -> Iterator[Any]:
        server.pods.root, server.pods.own_roots = root, tmp_path / "roots"
        (tmp_path / "roots").mkdir()
        table = {"kubeconfig": str(server.kubeconfig(tmp_path / "kubeconfig")), "rate": 0.0}
        yield KubernetesOrchestrator(typed_table.read(KubernetesOrchestrator.Settings, table, ""), context)

    @pytest.fixture
    def echoing_port(self, server: Server, echo: int) -> int:
        server.pods.ports[80] = echo
        return 80
