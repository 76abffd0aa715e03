"""``host-gateway``: the host's address as a container reaches it, by a name of the user's."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greeting_server import ASK
from private_engine import IMAGE, PrivateEngine

HOSTS = ("--add-host", "lecturer:host-gateway")


@contextmanager
def host_server(address: str) -> Iterator[int]:
    """A server of the host's that greets once, at ``address``; its port."""
    with socket.create_server((address, 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello from the host\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield server.getsockname()[1]


def addresses(engine: PrivateEngine, *options: str) -> list[str]:
    """What ``lecturer`` is in a container's /etc/hosts."""
    lines = engine.out("run", "--rm", *options, *HOSTS, IMAGE, "cat", "/etc/hosts").splitlines()
    return [line.split()[0] for line in lines if "lecturer" in line.split()[1:]]


def test_a_container_reaches_a_server_of_the_host_by_that_name(engine: PrivateEngine) -> None:
    with host_server(engine.gateway) as port:
        command = ("sh", "-c", ASK.format("lecturer", port))
        assert "hello from the host" in engine.out("run", "--rm", *HOSTS, IMAGE, *command)


def test_it_is_the_gateway_in_both_families(engine: PrivateEngine, name: str) -> None:
    network = f"net-{name}"
    engine.run("network", "create", network, "--ipv6")
    try:
        record = engine.json("network", "inspect", network)[0]
        assert addresses(engine, "--network", network) == [record["gateway"], record["gateway6"]]
    finally:
        engine.run("network", "rm", network)


def test_on_the_hosts_own_network_it_is_the_loopback(engine: PrivateEngine) -> None:
    assert addresses(engine, "--network", "host") == ["127.0.0.1"]


def test_the_last_network_with_the_host_on_it_is_not_left(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, *HOSTS, IMAGE, "sleep", "1000")
    refused = engine.run("network", "disconnect", "default", name, status=125).stderr
    assert "host-gateway: the host has no address on network 'none'" in refused
    assert engine.gateway in engine.out("exec", name, "cat", "/etc/hosts")
    assert "default" in engine.inspect(name)["NetworkSettings"]["Networks"]


def test_without_a_network_it_is_refused(engine: PrivateEngine, name: str) -> None:
    refused = engine.run("create", "--name", name, "--network", "none", *HOSTS, IMAGE, "true", status=125)
    assert "on network 'none' the host has no address" in refused.stderr


@pytest.mark.skipif(shutil.which("pasta") is None, reason="this host has no pasta")
def test_behind_pasta_it_is_refused(engine: PrivateEngine, name: str) -> None:
    network = f"net-{name}"
    engine.run("network", "create", network, "--driver", "pasta")
    try:
        refused = engine.run("run", "--rm", "--network", network, *HOSTS, IMAGE, "true", status=125).stderr
        assert f"the host has no address on network {network!r} (pasta)" in refused
    finally:
        engine.run("network", "rm", network)
