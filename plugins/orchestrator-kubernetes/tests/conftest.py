"""A cluster of the tests' own, and the driver that talks to it."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import busybox_rootfs
import kubernetes_server
from multios.drivers.base import DriverContext
from multios_orchestrator_kubernetes import KubernetesOrchestrator, cluster
from multios_orchestrator_kubernetes.settings import KubernetesSettings

Driver = Callable[..., KubernetesOrchestrator]


@pytest.fixture
def server() -> Iterator[kubernetes_server.Server]:
    with kubernetes_server.running() as running:
        yield running


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pods see as their root filesystem."""
    directory = tmp_path_factory.mktemp("pods")
    archive = busybox_rootfs.write(directory / "root.tar")
    subprocess.run(["tar", "-xf", archive, "-C", directory], check=True)
    return directory


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that gives back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            while data := client.recv(65536):
                client.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


@pytest.fixture
def driver(server: kubernetes_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Makes drivers: settings, and the namespace of the kubeconfig's context, may be said."""
    monkeypatch.setattr(cluster, "_FIRST_DELAY", 0.02)

    def make(namespace_of_context: str = "", **settings: Any) -> KubernetesOrchestrator:
        path = server.kubeconfig(tmp_path / "kubeconfig", namespace=namespace_of_context)
        given = {"rate": 0.0, "timeout": 30.0, "kubeconfig": str(path), **settings}
        return KubernetesOrchestrator(KubernetesSettings(**given), DriverContext(tmp_path, tmp_path))

    return make
