"""The default network, none and host."""

from __future__ import annotations

import json
import socket
import subprocess
import threading

from greeting_server import ASK, SERVER, await_servers
from name_server import name_server
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
        engine.run("run", "--rm", IMAGE, "sh", "-c", f"nc -w 5 {engine.gateway} {port} </dev/null")
    assert peers and peers[0].startswith(engine.gateway.rpartition(".")[0])


def test_containers_of_one_network_reach_each_other(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, *SERVER)
    await_servers(engine, name)
    ask = ASK.format(address(engine, name), 80)
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


def test_other_names_are_asked_of_the_server_that_was_named(engine: PrivateEngine) -> None:
    with name_server("127.53.0.1", "192.0.2.42") as asked:
        words = ("run", "--rm", "--dns", "127.53.0.1", IMAGE, "nslookup", "www.example.org")
        assert "192.0.2.42" in engine.out(*words)
    assert asked == ["www.example.org"] * 2


def test_who_is_confined_learns_allowed_names_and_reaches_what_they_lead_to(
    engine: PrivateEngine, name: str
) -> None:
    with name_server("127.53.0.1", "192.0.2.42") as asked:
        allowed = ("--egress-allow", "*.example.org", "--egress-allow", "203.0.113.0/24")
        engine.run("run", "-d", "--name", name, "--dns", "127.53.0.1", *allowed, IMAGE, "sleep", "1000")
        assert "192.0.2.42" in engine.out("exec", name, "nslookup", "www.example.org")
        refused = engine.run("exec", name, "nslookup", "www.example.net", status=None)
        assert "REFUSED" in refused.stdout + refused.stderr
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        place = address(engine, name)
        assert f"{place} . 192.0.2.42 timeout 10m" in rules
        assert f"{place} . 203.0.113.0/24" in rules
    assert set(asked) == {"www.example.org"}
    with socket.create_server((engine.gateway, 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        ask = f"nc -w 5 {engine.gateway} {port} </dev/null && echo reached"
        assert "reached" not in engine.run("exec", name, "sh", "-c", ask, status=None).stdout
        assert "reached" in engine.out("run", "--rm", IMAGE, "sh", "-c", ask)
    engine.run("delete", "--force", name)
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert place not in rules


def test_hosts_are_added_as_asked(engine: PrivateEngine) -> None:
    assert "192.0.2.7" in engine.out("run", "--rm", "--add-host", "far:192.0.2.7", IMAGE, "cat", "/etc/hosts")


def test_the_default_network_is_listed(engine: PrivateEngine) -> None:
    engine.run("run", "--rm", IMAGE, "true")
    assert engine.subnet in engine.out("network", "list")
