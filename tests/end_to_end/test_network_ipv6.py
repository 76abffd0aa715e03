"""Networks with IPv6: addresses, names, published ports, and what is put back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from free_ports import free_port
from greeting_server import ASK, answers, await_servers
from private_engine import IMAGE, PrivateEngine, eventually

SERVER = ("httpd", "-f", "-p", "[::]:80", "-h", "/etc")
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-ip6tables")


@pytest.fixture
def six(engine: PrivateEngine, name: str) -> Iterator[str]:
    """A network with IPv6."""
    made = f"six-{name}"
    engine.run("network", "create", made, "--ipv6")
    yield made
    engine.run("delete", "--force", name, f"{name}-2", status=None)
    engine.run("network", "rm", made, status=None)


def record(engine: PrivateEngine, network: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(engine.out("network", "inspect", network))[0]
    return found


def address6(engine: PrivateEngine, name: str, network: str) -> str:
    found: str = engine.inspect(name)["NetworkSettings"]["Networks"][network]["GlobalIPv6Address"]
    return found


def test_containers_reach_each_other_by_name_over_ipv6(engine: PrivateEngine, name: str, six: str) -> None:
    engine.run("run", "-d", "--name", name, "--network", six, IMAGE, *SERVER)
    place, network = address6(engine, name, six), record(engine, six)
    assert network["gateway6"].startswith("fd") and place.startswith(network["subnet6"].partition("::")[0])
    engine.run("run", "-d", "--name", f"{name}-2", "--network", six, IMAGE, "sleep", "1000")
    assert place in engine.out("exec", f"{name}-2", "nslookup", "-type=aaaa", name)
    assert name in engine.out("exec", f"{name}-2", "nslookup", place)
    await_servers(engine, name)
    assert "hello" in engine.out("exec", f"{name}-2", "sh", "-c", ASK.format(place, 80))
    assert f"default via {network['gateway6']}" in engine.out("exec", name, "ip", "-6", "route")
    assert place in engine.out("exec", name, "cat", "/etc/hosts")
    assert f", {place}" in engine.out("network", "inspect", "--format", "tree", six)


def test_a_port_is_published_in_both_families(engine: PrivateEngine, name: str, six: str) -> None:
    port, other = free_port(), free_port()
    engine.run(
        "run", "-d", "--name", name, "--network", six, "-p", f"{port}:80", "-p", f"[::]:{other}:80", IMAGE, *SERVER
    )  # fmt: skip
    gateway = record(engine, six)["gateway6"]
    eventually(lambda: answers(port, "127.0.0.1"), "the web server answers")
    assert answers(port, gateway) and answers(other, gateway)
    assert not answers(other, "127.0.0.1"), "it is published on IPv6 alone"
    assert f"[::]:{other}->80/tcp" in engine.out("ps", "--filter", f"name={name}")
    is_possible = not BRIDGE_NETFILTER.exists() or BRIDGE_NETFILTER.read_text().strip() == "0"
    assert answers(port, "::1") is is_possible
    engine.run("port-forward", "--remove", name, f"{port}:80")
    assert not answers(port, gateway)
    loopback = engine.run("port-forward", name, f"[::1]:{port}:80", status=None)
    assert ("nothing can be published on ::1" in loopback.stderr) is not is_possible


def test_subnet_gateway_and_address_can_be_chosen(engine: PrivateEngine, name: str) -> None:
    network = f"six-{name}"
    words = ("--subnet", "fd00:5eed:1::/64", "--gateway", "fd00:5eed:1::fe")
    engine.run("network", "create", network, *words)
    try:
        place = f"{network}:ip6=fd00:5eed:1::77"
        engine.run("run", "-d", "--name", name, "--network", place, IMAGE, "sleep", "1000")
        assert address6(engine, name, network) == "fd00:5eed:1::77"
        assert "via fd00:5eed:1::fe" in engine.out("exec", name, "ip", "-6", "route")
        for wanted, cause in (
            ("fd00:5eed:1::77", "in use"),
            ("fd00:5eed:1::fe", "in use"),
            ("fd00::1", "outside"),
        ):
            refused = engine.run(
                "run", "--rm", "--network", f"{network}:ip6={wanted}", IMAGE, "true", status=125
            )
            assert cause in refused.stderr
        clash = engine.run("network", "create", "clash", "--subnet", "fd00:5eed::/32", status=125)
        assert network in clash.stderr
    finally:
        engine.run("delete", "--force", name, status=None)
        engine.run("network", "rm", network)


def test_a_port_on_an_ipv6_address_needs_a_network_with_ipv6(engine: PrivateEngine, name: str) -> None:
    refused = engine.run("run", "--name", name, "-p", "[::]:8098:80", IMAGE, "true", status=125)
    assert "no IPv6 address" in refused.stderr and "--ipv6" in refused.stderr


def test_flushed_rules_of_ipv6_are_put_back(engine: PrivateEngine, name: str, six: str) -> None:
    port = free_port()
    engine.run("run", "-d", "--name", name, "--network", six, "-p", f"{port}:80", IMAGE, *SERVER)
    gateway = record(engine, six)["gateway6"]
    eventually(lambda: answers(port, gateway), "the web server answers")
    table = next(table for family, table in engine.tables() if family == "ip6")
    subprocess.run(["nft", "delete", "table", "ip6", table], check=True)
    assert not answers(port, gateway)
    assert "as they should be" in engine.out("network", "repair")
    assert answers(port, gateway)
