"""Networks that are made, joined, left and rewired while containers run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from free_ports import free_port
from greeting_server import ASK, SERVER, answers, await_servers
from private_engine import IMAGE, PrivateEngine, eventually


@pytest.fixture
def network(engine: PrivateEngine, name: str) -> Iterator[str]:
    """A network with this test's name."""
    made = f"n-{name}"
    engine.run("network", "create", made)
    yield made
    engine.run("delete", "--force", name, status=None)
    engine.run("network", "rm", made, status=None)


def address(engine: PrivateEngine, name: str, network: str) -> str:
    found: str = engine.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"]
    return found


def answers_soon(port: int) -> bool:
    """Whether it does within seconds: a server that has just been started does not listen yet."""
    return bool(eventually(lambda: answers(port), "the web server answers"))


def test_the_requests_networking_chapter(engine: PrivateEngine, name: str) -> None:
    port = free_port()
    engine.run("run", "-d", "--name", name, IMAGE, *SERVER)
    try:
        engine.run("network", "create", "my-network", "--subnet", "172.30.0.0/16")
        assert "my-network" in engine.out("network", "list")
        engine.run("network", "connect", "my-network", name)
        assert address(engine, name, "my-network").startswith("172.30.")
        record = json.loads(engine.out("network", "inspect", "my-network"))[0]
        assert [item["name"] for item in record["endpoints"]] == [name]
        assert "eth1" in engine.out("exec", name, "ip", "-o", "-4", "addr")
        assert engine.out("port-forward", name, f"{port}:80") == f"80/tcp -> 0.0.0.0:{port}"
        assert answers_soon(port)
        in_use = engine.run("network", "rm", "my-network", status=125)
        assert "has a running container" in in_use.stderr
        engine.run("network", "disconnect", "my-network", name)
        assert "eth1" not in engine.out("exec", name, "ip", "-o", "link")
        assert answers_soon(port)
        assert engine.out("network", "rm", "my-network") == "my-network"
    finally:
        engine.run("network", "disconnect", "my-network", name, status=None)
        engine.run("network", "rm", "my-network", status=None)


def test_a_container_on_several_networks_reaches_each(engine: PrivateEngine, name: str, network: str) -> None:
    other = f"other-{name}"
    engine.run("run", "-d", "--name", other, "--network", network, IMAGE, *SERVER)
    try:
        there = address(engine, other, network)
        engine.run("run", "-d", "--name", name, "--network", "default", "--network", network, IMAGE, *SERVER)
        await_servers(engine, other)
        assert "hello" in engine.out("exec", name, "sh", "-c", ASK.format(there, 80))
        assert (
            "hello"
            not in engine.run("run", "--rm", IMAGE, "sh", "-c", ASK.format(there, 80), status=None).stdout
        )
        networks = engine.inspect(name)["NetworkSettings"]["Networks"]
        assert {key: item["Interface"] for key, item in networks.items()} == {
            "default": "eth0",
            network: "eth1",
        }
    finally:
        engine.run("delete", "--force", other)


def test_a_place_can_be_asked_for(engine: PrivateEngine, name: str) -> None:
    made = f"n-{name}"
    engine.run("network", "create", made, "--subnet", "172.29.0.0/24", "--ip-range", "172.29.0.128/25")
    try:
        place = "ip=172.29.0.77,mac=02:00:00:00:00:77,alias=seventy"
        engine.run("run", "-d", "--name", name, "--network", f"{made}:{place}", IMAGE, "sleep", "1000")
        assert address(engine, name, made) == "172.29.0.77"
        assert "02:00:00:00:00:77" in engine.out("exec", name, "ip", "link")
        out = engine.out("run", "--rm", "--network", made, IMAGE, "ip", "-o", "-4", "addr", "show", "eth0")
        assert int(out.split()[3].split("/")[0].rpartition(".")[2]) >= 128
        for place, cause in (("ip=172.29.0.77", "in use"), ("ip=172.28.0.1", "outside"), ("up=1", "NETWORK")):
            words = ("run", "--rm", "--network", f"{made}:{place}", IMAGE, "true")
            assert cause in engine.run(*words, status=125).stderr
    finally:
        engine.run("delete", "--force", name, status=None)
        engine.run("network", "rm", made)


def test_connections_are_kept_for_later_starts(engine: PrivateEngine, name: str, network: str) -> None:
    port = free_port()
    engine.run("create", "--name", name, IMAGE, *SERVER)
    engine.run("network", "connect", "--alias", "web", network, name)
    engine.run("port-forward", name, f"{port}:80")
    engine.run("start", name)
    assert address(engine, name, network)
    assert answers_soon(port)
    engine.run("restart", "-t", "0", name)
    assert answers_soon(port)
    engine.run("network", "disconnect", "default", name)
    assert answers_soon(port), "ports move to the network that is left"
    engine.run("restart", "-t", "0", name)
    assert set(engine.inspect(name)["NetworkSettings"]["Networks"]) == {network}
    assert answers_soon(port)


def test_a_container_can_lose_its_last_network_and_get_one_again(
    engine: PrivateEngine, name: str, network: str
) -> None:
    engine.run("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
    engine.run("network", "disconnect", network, name)
    assert "eth0" not in engine.out("exec", name, "ip", "-o", "link")
    engine.run("network", "connect", network, name)
    assert address(engine, name, network) in engine.out("exec", name, "cat", "/etc/hosts")
    assert "eth0" in engine.out("exec", name, "ip", "-o", "link")


def test_what_cannot_be_connected_is_told(engine: PrivateEngine, name: str, network: str) -> None:
    engine.run("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
    again = engine.run("network", "connect", network, name, status=125)
    assert "already" in again.stderr
    absent = engine.run("network", "disconnect", "default", name, status=125)
    assert "is not on network" in absent.stderr
    assert "no such network" in engine.run("network", "connect", "nowhere", name, status=125).stderr
    outside = engine.run("network", "connect", "--ip", "10.9.9.9", "default", name, status=125)
    assert "outside" in outside.stderr
    assert "eth1" not in engine.out("exec", name, "ip", "-o", "link")


def test_forwards_come_and_go_while_it_runs(engine: PrivateEngine, name: str) -> None:
    port, other = free_port(), free_port()
    engine.run("run", "-d", "--name", name, "-p", f"{port}:80", IMAGE, *SERVER)
    assert answers_soon(port)
    engine.run("port-forward", name, f"127.0.0.1:{other}:80")
    assert answers_soon(other)
    assert engine.out("port", name).splitlines() == [
        f"80/tcp -> 0.0.0.0:{port}",
        f"80/tcp -> 127.0.0.1:{other}",
    ]
    taken = engine.run("port-forward", name, f"{port}:81", status=125)
    assert "already" in taken.stderr
    engine.run("port-forward", "--remove", name, f"{other}:80")
    assert not answers(other) and answers_soon(port)
    assert "no forward" in engine.run("port-forward", "--remove", name, f"{other}:80", status=125).stderr
    with socket.create_server(("0.0.0.0", 0)) as server:
        used = server.getsockname()[1]
        assert "in use" in engine.run("port-forward", name, f"{used}:80", status=125).stderr
    assert engine.out("port", name, "80") == f"0.0.0.0:{port}"
    assert "no published port" in engine.run("port", name, "81", status=125).stderr


def test_networks_are_filtered_and_pruned(engine: PrivateEngine, name: str, network: str) -> None:
    engine.run("network", "create", "--label", f"of={name}", f"spare-{name}")
    listed = engine.out("network", "ls", "-q", "--filter", f"label=of={name}")
    assert listed == f"spare-{name}"
    engine.run("create", "--name", name, "--network", network, IMAGE, "true")
    assert engine.out("network", "prune", "--filter", f"label=of={name}") == f"spare-{name}"
    assert network in engine.out("network", "ls", "-q")


def test_a_network_is_drawn(engine: PrivateEngine, name: str, network: str) -> None:
    engine.run("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
    place = address(engine, name, network)
    tree = engine.out("network", "inspect", "--format", "tree", network)
    assert tree.splitlines()[0].startswith(f"{network} (bridge, ")
    assert tree.splitlines()[-1] == f"└── {name}  {place}"
    dot = engine.out("network", "inspect", "--format", "dot", network)
    assert dot.startswith("graph networks {") and f'label="{place}"' in dot
    assert f"|{place}|" in engine.out("network", "inspect", "--format", "mermaid")


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--subnet", "10.250.0.0/33"], "no IPv4 subnet"),
        (["--subnet", "10.250.0.0/24", "--gateway", "10.251.0.1"], "no host of"),
        (["--subnet", "10.250.0.0/24", "--ip-range", "10.251.0.0/25"], "not within"),
        (["--subnet", "10.250.0.0/24", "--subnet", "10.251.0.0/24"], "one family"),
        (["--egress-allow", "not a name"], "no address, CIDR or domain name"),
        (["--driver", "nonsense"], "nonsense"),
        (["--opt", "mtu=1"], "mtu"),
        (["--filter", "x=y"], "--filter"),
    ],
)
def test_a_network_that_cannot_be_is_refused_and_leaves_nothing(
    engine: PrivateEngine, words: list[str], cause: str
) -> None:
    before = engine.out("network", "ls", "-q")
    refused = engine.run("network", "create", "impossible", *words, status=125)
    assert cause in refused.stderr and len(refused.stderr.splitlines()) <= 2
    assert engine.out("network", "ls", "-q") == before


def test_a_subnet_over_another_networks_or_a_route_of_the_host_is_refused(
    engine: PrivateEngine, network: str
) -> None:
    subnet = json.loads(engine.out("network", "inspect", network))[0]["subnet"]
    clash = engine.run("network", "create", "clash", "--subnet", subnet, status=125)
    assert network in clash.stderr
    route = engine.run("network", "create", "clash", "--subnet", engine.subnet, status=125)
    assert "overlaps" in route.stderr


@pytest.mark.parametrize(
    ("flag", "there", "outside"), [("--internal", True, False), ("--isolate", False, True)]
)
def test_a_network_keeps_its_containers_from_what_it_says(
    engine: PrivateEngine, name: str, flag: str, there: bool, outside: bool
) -> None:
    network, other = f"n-{name}", f"other-{name}"
    engine.run("network", "create", network, flag)
    try:
        engine.run("run", "-d", "--name", other, "--network", network, IMAGE, *SERVER)
        await_servers(engine, other)
        place = address(engine, other, network)
        reached = engine.run(
            "run", "--rm", "--network", network, IMAGE, "sh", "-c", ASK.format(place, 80), status=None
        )
        assert ("hello" in reached.stdout) is there
        routes = engine.out("run", "--rm", "--network", network, IMAGE, "ip", "route")
        assert ("default" in routes) is outside
    finally:
        engine.run("delete", "--force", other, status=None)
        engine.run("network", "rm", network)


def test_bandwidth_is_limited(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--bandwidth", "in=8mbit,out=4mbit", IMAGE, "sleep", "1000")
    pid = engine.inspect(name)["State"]["Pid"]
    inside = ["nsenter", "-t", str(pid), "-n", "tc", "qdisc", "show", "dev", "eth0"]
    assert "rate 4Mbit" in subprocess.run(inside, capture_output=True, text=True, check=True).stdout
    outside = subprocess.run(["tc", "qdisc", "show"], capture_output=True, text=True, check=True).stdout
    assert "rate 8Mbit" in outside
    refused = engine.run("run", "--rm", "--bandwidth", "fast", IMAGE, "true", status=125)
    assert "is not a rate" in refused.stderr


@pytest.mark.parametrize("way", ["network repair", "a new daemon"])
def test_what_another_program_has_flushed_is_put_back(make_engine: Any, way: str) -> None:
    engine: PrivateEngine = make_engine()
    port = free_port()
    engine.run("run", "-d", "--name", "web", "-p", f"{port}:80", IMAGE, *SERVER)
    engine.run("run", "-d", "--name", "student", "--egress-allow", "203.0.113.0/24", IMAGE, "sleep", "1000")
    before = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    tables = engine.tables()
    assert sorted(family for family, _ in tables) == ["bridge", "ip"]
    assert answers_soon(port)
    for table in tables:
        subprocess.run(["nft", "delete", "table", *table], check=True)
    assert not answers(port)
    if way == "network repair":
        assert "as they should be" in engine.out("network", "repair")
    else:
        os.kill(engine.daemon_pid, signal.SIGKILL)
        eventually(lambda: engine.run("version", status=None).returncode == 0, "a daemon answers")
    assert answers_soon(port)
    after = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    place = address(engine, "student", "default")
    for wanted in (f"{place} . 203.0.113.0/24", f". {place}"):
        assert wanted in before and wanted in after
    assert "web" in engine.run("exec", "student", "nslookup", "web").stdout
    engine.run("delete", "--force", "web", "student")


def test_a_driver_or_option_that_a_containers_networks_do_not_have_is_refused(
    engine: PrivateEngine, name: str, network: str
) -> None:
    for words in (["--network-driver", "fake"], ["--network-driver", "fake", "--network", network]):
        refused = engine.run("create", *words, "--name", name, "small:1", status=125).stderr
        assert (
            "is one of the driver 'bridge', not 'fake'" in refused
            and "network create --driver fake" in refused
        )
    refused = engine.run("create", "--network-opt", "mtu=1400", "--name", name, "small:1", status=125).stderr
    assert "network create --network-opt" in refused
    engine.run("create", "--network-driver", "bridge", "--network", network, "--name", name, "small:1")
    engine.run(
        "create", "--network-driver", "fake", "--network", "none", "--name", f"{name}-alone", "small:1"
    )
    engine.run("delete", name, f"{name}-alone")
