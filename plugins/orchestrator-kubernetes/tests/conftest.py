"""A cluster of the tests' own, and the driver that talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kubernetes_server
from multios.drivers.base import DriverContext
from multios_orchestrator_kubernetes import KubernetesOrchestrator, cluster
from multios_orchestrator_kubernetes.settings import KubernetesSettings

Driver = Callable[..., KubernetesOrchestrator]


@pytest.fixture
def server() -> Iterator[kubernetes_server.Server]:
    with kubernetes_server.running() as running:
        yield running


@pytest.fixture
def driver(server: kubernetes_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Makes drivers: settings, and the namespace of the kubeconfig's context, may be said."""
    monkeypatch.setattr(cluster, "_FIRST_DELAY", 0.02)

    def make(namespace_of_context: str = "", **settings: Any) -> KubernetesOrchestrator:
        path = server.kubeconfig(tmp_path / "kubeconfig", namespace=namespace_of_context)
        given = {"rate": 0.0, "timeout": 5.0, "kubeconfig": str(path), **settings}
        return KubernetesOrchestrator(KubernetesSettings(**given), DriverContext(tmp_path, tmp_path))

    return make
