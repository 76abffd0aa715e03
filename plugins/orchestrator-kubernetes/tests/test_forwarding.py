"""Ports of pods on this host's loopback, over real websockets to a real server."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from kubernetes_server import Server
from multios.drivers.orchestrator import ApplyOptions, Place, PlanOptions
from multios.errors import InvalidInput, MultiosError, NotFound
from multios.model import app_document
from multios_orchestrator_kubernetes import KubernetesOrchestrator, forward

Driver = Callable[..., KubernetesOrchestrator]
WEB = Place("web")


@pytest.fixture
def shop(driver: Driver, server: Server, echo: int) -> KubernetesOrchestrator:
    """A driver, and the app ``shop``, whose ``web`` echoes on port 80."""
    server.pods.ports[80] = echo
    app = app_document.parse({"name": "shop", "services": {"web": {"container": {"image": "web:1"}}}})
    made = driver()
    made.apply(app, made.plan(app, made.existing(app), PlanOptions()), lambda *_: None, ApplyOptions())
    return made


def received(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(65536)):
        data += more
    return data


def test_connections_lead_to_the_port_inside(shop: KubernetesOrchestrator) -> None:
    with shop.forward("shop", WEB, 80, 0) as port:
        clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(5)]
        for number, client in enumerate(clients):
            client.sendall(b"hello %d" % number)
        assert [received(client, 7) for client in clients] == [b"hello %d" % number for number in range(5)]
        for client in clients:
            client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 10)


def test_much_goes_both_ways_at_once(shop: KubernetesOrchestrator) -> None:
    much = os.urandom(1 << 20) * 4
    with (
        shop.forward("shop", WEB, 80, 0) as port,
        socket.create_connection(("127.0.0.1", port), 30) as client,
    ):
        sender = threading.Thread(target=client.sendall, args=(much,))
        sender.start()
        assert received(client, len(much)) == much
        sender.join()


def test_who_has_said_all_still_gets_the_answer(
    shop: KubernetesOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_LINGER", 3.0)
    with (
        shop.forward("shop", WEB, 80, 0) as port,
        socket.create_connection(("127.0.0.1", port), 10) as client,
    ):
        client.sendall(b"all")
        client.shutdown(socket.SHUT_WR)
        assert received(client, 3) == b"all"
        assert client.recv(1) == b""


def test_a_port_where_nobody_listens_breaks_the_connection_off(shop: KubernetesOrchestrator) -> None:
    with (
        shop.forward("shop", WEB, 81, 0) as port,
        socket.create_connection(("127.0.0.1", port), 10) as client,
        pytest.raises(ConnectionResetError),
    ):
        client.recv(1)


def test_a_pod_that_was_replaced_is_found_again(shop: KubernetesOrchestrator, server: Server) -> None:
    with shop.forward("shop", WEB, 80, 0) as port:
        (old,) = server.store.named("Pod")
        (found,) = server.store.select("pods", "", "")
        server.store.delete(("pods", "shop", old))
        found["metadata"]["name"] = "web-new"
        with server.store.lock:
            server.store.put(("pods", "shop", "web-new"), found)
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(b"again")
            assert received(client, 5) == b"again"


def test_what_cannot_be_forwarded_is_said_at_once(shop: KubernetesOrchestrator) -> None:
    with pytest.raises(NotFound, match="'wbe'"), shop.forward("shop", Place("wbe"), 80, 0):
        pass
    with pytest.raises(InvalidInput, match="70000"), shop.forward("shop", WEB, 70000, 0):
        pass
    with shop.forward("shop", WEB, 80, 0) as port:
        with pytest.raises(MultiosError, match=str(port)), shop.forward("shop", WEB, 80, port):
            pass


def test_open_connections_end_with_the_forwarding(shop: KubernetesOrchestrator) -> None:
    with shop.forward("shop", WEB, 80, 0) as port:
        client = socket.create_connection(("127.0.0.1", port), 10)
        client.sendall(b"x")
        assert received(client, 1) == b"x"
    with client, suppress(ConnectionResetError):
        assert client.recv(1) == b""
