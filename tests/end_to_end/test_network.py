"""The default network, none and host."""

from __future__ import annotations

import json
import socket
import threading

from private_engine import IMAGE, PrivateEngine


def address(engine: PrivateEngine, name: str) -> str:
    return engine.out("inspect", "--format", "{{.NetworkSettings.Networks.default.IPAddress}}", name)


def test_a_container_reaches_its_gateway(engine: PrivateEngine) -> None:
    assert f"default via {engine.gateway}" in engine.out("run", "--rm", IMAGE, "ip", "route")
    with socket.create_server((engine.gateway, 0)) as server:
        port = server.getsockname()[1]
        peers: list[str] = []

        def accept() -> None:
            connection, (peer, _) = server.accept()
            peers.append(peer)
            connection.close()

        threading.Thread(target=accept, daemon=True).start()
        # Debian's busybox has neither `nc -z` nor, being static, a wget that resolves: plain connections do.
        engine.run("run", "--rm", IMAGE, "sh", "-c", f"nc -w 3 {engine.gateway} {port} </dev/null")
    assert peers and peers[0].startswith(engine.gateway.rpartition(".")[0])


def test_containers_of_one_network_reach_each_other(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "httpd", "-f", "-p", "80", "-h", "/etc")
    ask = f"printf 'GET /greeting HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address(engine, name)} 80"
    assert "hello" in engine.out("run", "--rm", IMAGE, "sh", "-c", ask)


def test_hosts_and_hostname_name_the_container(engine: PrivateEngine, running: str) -> None:
    hosts = engine.out("exec", running, "cat", "/etc/hosts")
    assert address(engine, running) in hosts
    assert engine.out("exec", running, "cat", "/etc/hostname") == engine.out("exec", running, "hostname")


def test_network_none_has_only_a_loopback(engine: PrivateEngine) -> None:
    out = engine.out("run", "--rm", "--network", "none", IMAGE, "ip", "-o", "-4", "addr")
    assert "127.0.0.1" in out and "eth0" not in out


def test_network_host_is_the_hosts(engine: PrivateEngine) -> None:
    assert engine.bridge in engine.out("run", "--rm", "--network", "host", IMAGE, "ip", "link")


def test_addresses_differ_and_are_freed(engine: PrivateEngine, running: str) -> None:
    other = engine.out("run", "--rm", IMAGE, "sh", "-c", "ip -o -4 addr show eth0").split()[3].split("/")[0]
    assert other != address(engine, running)
    rows = json.loads(engine.out("network", "inspect", "default"))
    assert other not in json.dumps(rows)


def test_dns_comes_from_the_host_or_as_asked(engine: PrivateEngine) -> None:
    assert "nameserver 192.0.2.53" in engine.out(
        "run", "--rm", "--dns", "192.0.2.53", IMAGE, "cat", "/etc/resolv.conf"
    )
    assert "192.0.2.7" in engine.out("run", "--rm", "--add-host", "far:192.0.2.7", IMAGE, "cat", "/etc/hosts")


def test_the_default_network_is_listed(engine: PrivateEngine) -> None:
    engine.run("run", "--rm", IMAGE, "true")
    assert engine.subnet in engine.out("network", "list")
