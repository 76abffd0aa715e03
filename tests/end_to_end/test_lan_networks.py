"""Containers on a LAN, by macvlan: a veth pair whose far end is in a namespace that plays a neighbour."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from greeting_server import ASK, SERVER, await_servers
from multios.testing.network_box import Namespace, ask, serving
from private_engine import IMAGE, PrivateEngine, eventually

NEIGHBOUR = "10.215.0.254"


@dataclass
class Lan:
    """``parent`` leads to ``neighbour``; the network's name is ``network``."""

    parent: str
    neighbour: Namespace
    network: str


@pytest.fixture
def parent(engine: PrivateEngine) -> Iterator[tuple[str, Namespace]]:
    """An interface of the machine's that the test makes, and who is at its other end."""
    name, far = f"{engine.bridge}-lan", Namespace.new()
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}2"], check=True)
    subprocess.run(["ip", "link", "set", f"{name}2", "netns", far.path, "name", "up0"], check=True)
    with far.entered():
        subprocess.run(["ip", "addr", "add", f"{NEIGHBOUR}/24", "dev", "up0"], check=True)
        subprocess.run(["ip", "link", "set", "up0", "up"], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    yield name, far
    subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
    far.close()


@pytest.fixture
def lan(engine: PrivateEngine, name: str, parent: tuple[str, Namespace]) -> Iterator[Lan]:
    """A macvlan network over it."""
    network = f"lan-{name}"
    words = ("--driver", "macvlan", "--opt", f"parent={parent[0]}", "--subnet", "10.215.0.0/24")
    engine.run("network", "create", network, *words, "--gateway", NEIGHBOUR, "--ip-range", "10.215.0.64/26")
    yield Lan(parent[0], parent[1], network)
    engine.run("delete", "--force", name, f"{name}-2", status=None)
    engine.run("network", "rm", network)


def address(engine: PrivateEngine, name: str, network: str) -> str:
    found: str = engine.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"]
    return found


def server(engine: PrivateEngine, lan: Lan, name: str, *words: str) -> str:
    """Start a web server on the LAN; its address."""
    engine.run(
        "run", "-d", "--name", name, "--network", lan.network, *words, IMAGE,
        *SERVER,
    )  # fmt: skip
    await_servers(engine, name)
    return address(engine, name, lan.network)


def connects(where: Namespace, place: str) -> bool:
    """Whether a web server there takes a connection."""
    with closing(where.socket()) as client:
        client.settimeout(0.5)
        return client.connect_ex((place, 80)) == 0


def look_up(engine: PrivateEngine, container: str, name: str) -> str:
    done = engine.run("exec", container, "nslookup", name, status=None)
    return done.stdout.partition("\n\n")[2] + done.stderr


def test_neighbours_and_containers_reach_each_other_by_address_and_containers_by_name(
    engine: PrivateEngine, name: str, lan: Lan
) -> None:
    place = server(engine, lan, name, "--network-alias", "board")
    other = server(engine, lan, f"{name}-2")
    assert place.startswith("10.215.0.") and int(place.rpartition(".")[2]) >= 64
    eventually(lambda: connects(lan.neighbour, place), "the server listens")
    with serving(lan.neighbour, 7000):
        assert "hello" in engine.out("exec", f"{name}-2", "sh", "-c", ASK.format(place, 80))
        asked = f"echo hello | nc -w 5 {NEIGHBOUR} 7000"
        assert other in engine.out("exec", f"{name}-2", "sh", "-c", asked), "under its own address"
    assert "nameserver 127.0.0.11" in engine.out("exec", name, "cat", "/etc/resolv.conf")
    for known in (name, "board", engine.inspect(name)["Id"][:12]):
        assert place in look_up(engine, f"{name}-2", known)
    assert name in look_up(engine, f"{name}-2", place), "the way back"
    assert "NXDOMAIN" in look_up(engine, name, "nobody")


def test_names_inside_survive_daemon_and_resolver(make_engine: Any, name: str, engine: PrivateEngine) -> None:
    own: PrivateEngine = make_engine()
    link = f"{own.bridge}-lan"
    subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}2"], check=True)
    subprocess.run(["ip", "link", "set", link, "up"], check=True)
    try:
        words = ("--driver", "macvlan", "--opt", f"parent={link}", "--subnet", "10.216.0.0/24")
        own.run("network", "create", "lan", *words)
        for one in ("one", "two"):
            own.run("run", "-d", "--name", one, "--network", "lan", IMAGE, "sleep", "1000")
        place = address(own, "two", "lan")
        assert place in look_up(own, "one", "two")
        os.kill(own.daemon_pid, signal.SIGKILL)
        eventually(lambda: own.run("version", status=None).returncode == 0, "a daemon answers")
        assert place in look_up(own, "one", "two")
        resolver = next(pid for pid, line in own.processes().items() if "multios.resolver" in line)
        os.kill(resolver, signal.SIGKILL)
        eventually(lambda: place in look_up(own, "one", "two"), "it is there again")
        own.run("delete", "--force", "one", "two")
        own.run("network", "rm", "lan")
    finally:
        subprocess.run(["ip", "link", "delete", link], check=False)


def test_a_running_container_joins_and_leaves_the_lan(engine: PrivateEngine, name: str, lan: Lan) -> None:
    other = server(engine, lan, f"{name}-2")
    engine.run("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    engine.run("network", "connect", "--alias", "guest", lan.network, name)
    assert "eth1" in engine.out("exec", name, "ip", "-o", "link")
    assert "hello" in engine.out("exec", name, "sh", "-c", ASK.format(other, 80))
    assert other in look_up(engine, name, f"{name}-2"), "told by the bridge's gateway"
    assert address(engine, name, lan.network) in look_up(engine, f"{name}-2", "guest")
    engine.run("network", "disconnect", "default", name)
    assert "nameserver 127.0.0.11" in engine.out("exec", name, "cat", "/etc/resolv.conf")
    assert other in look_up(engine, name, f"{name}-2"), "told inside"
    engine.run("network", "disconnect", lan.network, name)
    assert "eth" not in engine.out("exec", name, "ip", "-o", "link")
    engine.run("network", "connect", lan.network, name)
    assert other in look_up(engine, name, f"{name}-2")


def test_a_container_keeps_its_place_over_a_restart_and_leaves_nothing(
    engine: PrivateEngine, name: str, lan: Lan
) -> None:
    mac = "02:00:00:00:15:77"
    place = server(engine, lan, name, "--ip", "10.215.0.77", "--mac-address", mac)
    for _ in range(3):
        engine.run("restart", "-t", "0", name)
        assert address(engine, name, lan.network) == place == "10.215.0.77"
        assert mac in engine.out("exec", name, "ip", "link", "show", "eth0")
    eventually(lambda: connects(lan.neighbour, place), "the server listens")
    engine.run("delete", "--force", name)
    places = engine.exec_root / "drivers/network/macvlan"
    eventually(lambda: not places.is_dir() or not list(places.iterdir()), "its place is forgotten")
    assert not connects(lan.neighbour, place)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("-p", "8099:80"), "publishes no ports"),
        (("--bandwidth", "1mbit"), "has no bandwidth limits"),
        (("--egress-allow", "192.0.2.1"), "has no egress allow-lists"),
        (("--add-host", "a:host-gateway"), "the host has no address on network"),
    ],
)
def test_what_a_lan_cannot_is_refused_in_words(
    engine: PrivateEngine, name: str, lan: Lan, words: tuple[str, ...], cause: str
) -> None:
    refused = engine.run("run", "--rm", "--network", lan.network, *words, IMAGE, "true", status=125)
    assert cause in refused.stderr and len(refused.stderr.splitlines()) <= 2


def test_a_parent_that_vanishes_is_told_at_the_next_start_and_by_repair(
    engine: PrivateEngine, name: str, lan: Lan
) -> None:
    server(engine, lan, name)
    subprocess.run(["ip", "link", "delete", lan.parent], check=True)
    assert "eth0" not in engine.out("exec", name, "ip", "-o", "link"), "it went along"
    told = engine.run("network", "repair", status=None)
    assert lan.parent in told.stdout + told.stderr
    failed = engine.run("run", "--rm", "--network", lan.network, IMAGE, "true", status=125)
    assert f"the host has no interface '{lan.parent}'" in failed.stderr
    engine.run("network", "disconnect", lan.network, name)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("--opt", "parent=nowhere"), "the host has no interface 'nowhere'"),
        (("--opt", "mode=bride"), "is none of private, vepa, bridge, passthru"),
        (("--opt", "mod=bridge"), "mod: no such setting"),
        (("--internal",), "has no internal networks"),
    ],
)
def test_a_lan_that_cannot_be_is_refused_and_leaves_nothing(
    engine: PrivateEngine, words: tuple[str, ...], cause: str
) -> None:
    refused = engine.run("network", "create", "impossible", "--driver", "macvlan", *words, status=125)
    assert cause in refused.stderr and len(refused.stderr.splitlines()) <= 2
    assert "impossible" not in engine.out("network", "ls", "-q")


def test_a_neighbour_is_answered_under_the_containers_address(
    engine: PrivateEngine, name: str, lan: Lan
) -> None:
    place = server(engine, lan, name)
    inside = Namespace.of(engine.inspect(name)["State"]["Pid"])
    with serving(inside, 7000):
        assert ask(lan.neighbour, place, 7000) == NEIGHBOUR
    inside.close()
