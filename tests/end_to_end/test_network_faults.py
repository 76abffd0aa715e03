"""What is wrong with networks, and what breaks them: one clear answer each, and afterwards nothing is left or lost.

The cases stand in tests/support/network_faults.py, from which docs/reference/network-faults.md is written.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import fault_injection
import network_fault_injection
from greeting_server import ASK, answers
from leaks import assert_nothing_leaked, settled
from multios import connect
from multios.testing.network_box import Namespace
from network_faults import (
    BRIDGE_MADE,
    KILL_TEST,
    KILLS,
    OPERATIONS,
    PAIR_MADE,
    REFUSAL_TEST,
    REFUSALS,
    RULES_GONE,
    SCENARIOS,
    SUBNET,
    Kill,
    Refusal,
)
from private_engine import IMAGE, PrivateEngine, eventually

SERVER = ("httpd", "-f", "-p", "80", "-h", "/etc")
CLIENTS = 8


# --- what a network holds of the host -----------------------------------------------------------------


def rules(engine: PrivateEngine) -> list[str]:
    """The words of the engine's nftables tables, in an order of their own."""
    found = []
    for family, name in sorted(engine.tables()):
        listed = subprocess.run(
            ["nft", "list", "table", family, name], capture_output=True, text=True, check=True
        )
        found += re.findall(r"[^\s,]+", listed.stdout)
    return sorted(found)


def own_subnet(engine: PrivateEngine, second: int) -> str:
    """A subnet that no other engine on this machine takes: one that is chosen may be taken by another at that moment."""
    return f"10.{second}.{engine.bridge.removeprefix('mtest')}.0/24"


def networks(engine: PrivateEngine) -> dict[str, Any]:
    """Every network with what is on its bridge, and the rules."""
    rows = engine.json("network", "ls")
    return {
        "links": {row["name"]: links_on(row["interface"]) for row in rows},
        "rules": rules(engine),
    }


def links_on(bridge: str) -> int:
    """How many ports a bridge has; −1 when it is not there."""
    ports = Path(f"/sys/class/net/{bridge}/brif")
    return len(os.listdir(ports)) if ports.exists() else -1


def assert_networks_are(engine: PrivateEngine, before: dict[str, Any], patience: float = 30.0) -> None:
    """Compare with what :func:`networks` gave before."""
    deadline = time.monotonic() + patience
    while (after := networks(engine)) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after == before


def addresses_inside(engine: PrivateEngine, name: str) -> dict[str, str]:
    """A running container's interfaces, the loopback apart, each with its IPv4 address or nothing."""
    pid = engine.inspect(name)["State"]["Pid"]
    listed = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ip", "-json", "-4", "addr"],
        capture_output=True,
        text=True,
        check=True,
    )
    links = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ip", "-json", "link"], capture_output=True, text=True, check=True
    )
    found = {item["ifname"]: "" for item in json.loads(links.stdout) if item.get("ifname", "lo") != "lo"}
    for item in json.loads(listed.stdout):
        if item.get("ifname") in found:
            found[item["ifname"]] = ",".join(entry["local"] for entry in item["addr_info"])
    return found


def recorded_addresses(engine: PrivateEngine, name: str) -> dict[str, str]:
    places = engine.inspect(name)["NetworkSettings"]["Networks"].values()
    return {place["Interface"]: place["IPAddress"] for place in places}


def published(engine: PrivateEngine, name: str) -> list[int]:
    """The host's ports of a container."""
    lines = engine.run("port", name, status=None).stdout.splitlines()
    return [int(line.rpartition(":")[2]) for line in lines]


_numbers = itertools.count()


def free_port(engine: PrivateEngine) -> int:
    """A port of the host that engines of other workers leave alone: they do not see each other's forwards."""
    first = 20_000 + 100 * int(engine.bridge.removeprefix("mtest"))
    for number in itertools.islice(_numbers, 100):
        try:
            with socket.create_server(("0.0.0.0", first + number % 100)) as server:
                return int(server.getsockname()[1])
        except OSError:
            continue
    raise AssertionError("no free port")


def error_lines(text: str) -> list[str]:
    """A refusal's cause, and its remedy if there is one; nothing else may have been said."""
    lines = text.splitlines()
    assert lines and lines[0].startswith("Error: ") and len(lines) <= 2, text
    return lines


# --- the page -----------------------------------------------------------------------------------------


def test_every_row_of_the_page_names_a_test_that_exists() -> None:
    here = Path(__file__).parent
    named = [item.test for scenarios in SCENARIOS.values() for item in scenarios] + [REFUSAL_TEST, KILL_TEST]
    for file, _, name in (test.partition("::") for test in named):
        assert f"\ndef {name}(" in (here / file).read_text(), name


# --- refusals -----------------------------------------------------------------------------------------


@dataclass
class Scene:
    """Networks *desk* and *inner*; *ada* on desk with a published port, *grace* on default; a program on a port."""

    engine: PrivateEngine
    words: dict[str, str]
    before: dict[str, Any] = field(default_factory=dict)
    networks_before: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def scene(make_engine: Callable[..., PrivateEngine]) -> Iterator[Scene]:
    engine = make_engine()
    number = engine.bridge.removeprefix("mtest")
    mine = str(free_port(engine))
    engine.run("network", "create", "desk", "--subnet", SUBNET.format(n=number))
    engine.run("network", "create", "inner", "--internal", "--subnet", own_subnet(engine, 244))
    place = f"desk:ip=10.240.{number}.10,mac=02:00:00:00:00:0a"
    engine.run("run", "-d", "--name", "ada", "--network", place, "-p", f"{mine}:80", IMAGE, "sleep", "1000")
    engine.run("run", "-d", "--name", "grace", IMAGE, "sleep", "1000")
    with socket.create_server(("0.0.0.0", 0)) as server:
        used = str(server.getsockname()[1])
        words = {
            "n": number,
            "subnet": engine.subnet,
            "mine": mine,
            "used": used,
            "free": str(free_port(engine)),
            "long": "a" * 129,
        }
        yield Scene(engine, words, settled(engine), networks(engine))
    engine.run("delete", "--force", "ada", "grace")
    engine.run("network", "rm", "desk")
    engine.run("network", "rm", "inner")


def refusals() -> Iterator[Any]:
    for refusal in (item for cases in REFUSALS.values() for item in cases):
        yield pytest.param(refusal, id=f"{refusal.command.split()[0]}: {refusal.title}")


@pytest.mark.parametrize("refusal", list(refusals()))
def test_what_cannot_be_is_refused_in_words_and_leaves_nothing(scene: Scene, refusal: Refusal) -> None:
    engine = scene.engine
    try:
        said = engine.run(*shlex.split(refusal.command.format(**scene.words)), status=125).stderr
    finally:
        engine.run("delete", "--force", "bad", status=None)
        engine.run("network", "rm", "bad", status=None)
    cause, *remedies = error_lines(said)
    assert refusal.cause.format(**scene.words) in cause
    if refusal.remedy:
        assert remedies and refusal.remedy.format(**scene.words) in remedies[0]
    assert not refusal.never or refusal.never not in said
    assert_nothing_leaked(engine, scene.before)
    assert_networks_are(engine, scene.networks_before)


def test_a_subnet_over_a_route_of_the_host_is_refused_and_the_route_named(
    scene: Scene, make_engine: Callable[..., PrivateEngine]
) -> None:
    other = make_engine()
    other.run("run", "--rm", IMAGE, "true")  # its bridge is a route of the host to any other engine
    said = scene.engine.run("network", "create", "bad", "--subnet", other.subnet, status=125).stderr
    cause, remedy = error_lines(said)
    assert f"overlaps the host's route {other.subnet} (interface {other.bridge})" in cause
    assert "choose another subnet" in remedy
    assert_networks_are(scene.engine, scene.networks_before)
    assert engine_routes(other)


def engine_routes(engine: PrivateEngine) -> bool:
    return engine.subnet in subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout


def test_a_port_that_is_taken_is_refused_before_anything_starts(scene: Scene) -> None:
    engine, port = scene.engine, scene.words["used"]
    started = "echo started > /proc/1/fd/1; sleep 1000"
    said = engine.run(
        "run", "-d", "--name", "bad", "-p", f"{port}:80", IMAGE, "sh", "-c", started, status=125
    )
    assert f"host port {port}/tcp is in use" in error_lines(said.stderr)[0]
    assert engine.status_of("bad") == "created" and engine.out("logs", "bad") == ""
    engine.run("delete", "bad")
    assert_nothing_leaked(engine, scene.before)
    assert_networks_are(engine, scene.networks_before)


def test_port_zero_of_the_host_is_any_free_one(scene: Scene) -> None:
    port = int(scene.engine.out("port-forward", "ada", "0:80").rpartition(":")[2])
    assert 1024 < port < 65536
    scene.engine.run("port-forward", "--remove", "ada", f"{port}:80")
    assert_networks_are(scene.engine, scene.networks_before)


# --- full networks ------------------------------------------------------------------------------------


def test_a_full_network_refuses_in_words_until_a_place_is_free(scene: Scene) -> None:
    engine = scene.engine
    engine.run("network", "create", "small-room", "--subnet", f"10.241.{scene.words['n']}.0/29")
    names = [f"pupil-{number}" for number in range(5)]  # of 6 hosts, one is the gateway
    try:
        for name in names:
            engine.run("run", "-d", "--name", name, "--network", "small-room", IMAGE, "sleep", "1000")
        words = ("run", "--rm", "--network", "small-room", IMAGE, "true")
        cause, remedy = error_lines(engine.run(*words, status=125).stderr)
        assert f"no free address in 10.241.{scene.words['n']}.0/29" in cause
        assert "larger subnet" in remedy
        cause, _ = error_lines(engine.run("network", "connect", "small-room", "grace", status=125).stderr)
        assert "no free address" in cause
        place = engine.inspect(names[2])["NetworkSettings"]["IPAddress"]
        engine.run("delete", "--force", names[2])
        assert f"inet {place}/" in engine.out(*words[:-1], "ip", "addr", "show", "eth0")
    finally:
        engine.run("delete", "--force", *names, status=None)
        engine.run("network", "rm", "small-room")
    assert_nothing_leaked(engine, scene.before)
    assert_networks_are(engine, scene.networks_before)


@pytest.mark.timeout(900)
def test_253_containers_fill_a_class_c_network_all_are_reached_and_all_places_are_free_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    engine = PrivateEngine(tmp_path_factory.mktemp("many"), containers=300)
    engine.start()
    try:
        engine.import_small_image()
        number = engine.bridge.removeprefix("mtest")
        engine.run("network", "create", "hall", "--subnet", f"10.242.{number}.0/24")
        empty, empty_networks = settled(engine), networks(engine)
        names = [f"pupil-{index}" for index in range(253)]
        started(engine, names, "hall")
        places = {item["name"]: item["address"].partition("/")[0] for item in endpoints(engine, "hall")}
        assert set(places) == set(names)
        assert set(places.values()) == {f"10.242.{number}.{last}" for last in range(2, 255)}
        assert_all_reached(engine, names, places)
        words = ("run", "--rm", "--network", "hall", IMAGE, "true")
        cause, remedy = error_lines(engine.run(*words, status=125).stderr)
        assert f"no free address in 10.242.{number}.0/24" in cause and "larger subnet" in remedy
        deleted(engine, names)
        assert endpoints(engine, "hall") == []
        assert_nothing_leaked(engine, {**empty, **after_many(engine)}, patience=30)
        assert_networks_are(engine, empty_networks)
        taken = engine.out(
            "run", "--rm", "--network", "hall", "--ip", places[names[0]], *words[4:-1], "ip", "addr"
        )
        assert places[names[0]] in taken
        engine.run("network", "rm", "hall")
    finally:
        engine.end()


def after_many(engine: PrivateEngine) -> dict[str, Any]:
    """What may be more after many containers than before the first: threads that wait keep epoll descriptors."""
    return {"descriptors of the daemon": settled(engine)["descriptors of the daemon"]}


def endpoints(engine: PrivateEngine, network: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(engine.out("network", "inspect", network))[0]["endpoints"]
    return found


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    """What ``act`` gives for each number; ``CLIENTS`` threads at a time."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(act, range(count)))


def started(engine: PrivateEngine, names: list[str], network: str) -> None:
    """Web servers on a network, by the Python interface: a process for each client would take most of the time."""

    def start(index: int) -> None:
        document = {
            "name": names[index],
            "image": IMAGE,
            "command": list(SERVER),
            "networking": {"networks": [network]},
        }
        with connect(str(engine.exec_root / "api.sock")) as client:
            client.call("containers.run", {"config": document, "attach": False})

    at_once(len(names), start)


def deleted(engine: PrivateEngine, names: list[str]) -> None:
    def delete(index: int) -> None:
        with connect(str(engine.exec_root / "api.sock")) as client:
            client.call("containers.delete", {"ref": names[index], "force": True, "volumes": False})

    at_once(len(names), delete)


def assert_all_reached(engine: PrivateEngine, names: list[str], places: dict[str, str]) -> None:
    """The host reaches each, and so does the first of them."""
    pid = engine.inspect(names[0])["State"]["Pid"]
    inside = Namespace(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    try:
        for address in places.values():
            eventually(lambda address=address: answers(80, address), f"the host reaches {address}")
        with inside.entered():
            unreached = [address for address in places.values() if not answers(80, address)]
    finally:
        inside.close()
    assert unreached == []


# --- other programs -----------------------------------------------------------------------------------


@pytest.fixture
def victims(scene: Scene) -> Iterator[tuple[PrivateEngine, str]]:
    """Two web servers on a network of their own, one with a published port; the network's bridge."""
    engine, daemon = scene.engine, scene.engine.daemon_pid
    engine.run("network", "create", "broken", "--subnet", own_subnet(engine, 245))
    for name, ports in (("one", ("-p", f"{free_port(engine)}:80")), ("two", ())):
        engine.run("run", "-d", "--name", name, "--network", "broken", *ports, IMAGE, *SERVER)
    eventually(lambda: answers(published(engine, "one")[0]), "it serves")
    yield engine, engine.json("network", "ls", "--filter", "name=broken")[0]["interface"]
    engine.run("delete", "--force", "one", "two", status=None)
    engine.run("network", "rm", "broken")
    if engine.daemon_pid != daemon:  # another daemon has descriptors of its own
        scene.before["descriptors of the daemon"] = settled(engine)["descriptors of the daemon"]
    assert_nothing_leaked(engine, scene.before)
    assert_networks_are(engine, scene.networks_before)


def assert_whole(engine: PrivateEngine) -> None:
    """The two reach each other by name, and the host reaches the published port."""
    place = engine.inspect("one")["NetworkSettings"]["Networks"]["broken"]["IPAddress"]
    eventually(lambda: answers(published(engine, "one")[0]), "the published port is served")
    assert place in engine.out("exec", "two", "nslookup", "one"), "names"
    assert "hello" in engine.out("exec", "two", "sh", "-c", ASK.format(place, 80)), "the neighbour"


@pytest.mark.parametrize("way", ["network repair", "a new daemon"])
def test_a_bridge_that_another_program_has_taken_down_is_put_back(
    victims: tuple[PrivateEngine, str], way: str
) -> None:
    engine, bridge = victims
    subprocess.run(["ip", "link", "set", bridge, "down"], check=True)
    assert not answers(published(engine, "one")[0])
    repair(engine, way)
    assert_whole(engine)


@pytest.mark.parametrize("way", ["network repair", "a new daemon"])
def test_a_bridge_that_another_program_has_deleted_is_put_back_with_its_containers(
    victims: tuple[PrivateEngine, str], way: str
) -> None:
    engine, bridge = victims
    subprocess.run(["ip", "link", "delete", bridge], check=True)
    assert not answers(published(engine, "one")[0])
    repair(engine, way)
    assert_whole(engine)


@pytest.mark.parametrize("way", ["network repair", "a new daemon"])
def test_an_address_that_another_program_has_taken_from_a_bridge_is_put_back(
    victims: tuple[PrivateEngine, str], way: str
) -> None:
    engine, bridge = victims
    subprocess.run(["ip", "address", "flush", "dev", bridge], check=True)
    assert not answers(published(engine, "one")[0])
    repair(engine, way)
    assert_whole(engine)


def repair(engine: PrivateEngine, way: str) -> None:
    """As an administrator would, or by another daemon."""
    if way == "network repair":
        assert "as they should be" in engine.out("network", "repair")
    else:
        killed(engine)


def killed(engine: PrivateEngine) -> None:
    """Kill the daemon; on return the next one answers."""
    os.kill(engine.daemon_pid, signal.SIGKILL)
    eventually(lambda: engine.run("version", status=None).returncode == 0, "a daemon answers")


# --- a daemon that is killed --------------------------------------------------------------------------


@dataclass
class Killable:
    """An engine whose daemon dies in a step on order."""

    engine: PrivateEngine
    directory: Path

    def order(self, step: str, when: str) -> None:
        fault_injection.order(self.directory, step, when, "kill")

    def was_met(self) -> bool:
        return not (self.directory / "order").exists()


@pytest.fixture(scope="module")
def killable(make_engine: Callable[..., PrivateEngine], tmp_path_factory: pytest.TempPathFactory) -> Killable:
    site, orders = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("orders")
    network_fault_injection.install(site)
    engine = make_engine({"PYTHONPATH": str(site), fault_injection.ENVIRONMENT: str(orders)})
    engine.run("run", "--rm", IMAGE, "true")
    return Killable(engine, orders)


@pytest.fixture
def prepared(killable: Killable, request: pytest.FixtureRequest) -> Iterator[tuple[Killable, dict[str, str]]]:
    """What an operation needs; afterwards nothing may be left of it."""
    engine, kill = killable.engine, request.getfixturevalue("kill")
    before, networks_before = settled(engine), networks(engine)
    words = {
        "free": str(free_port(engine)),
        "mine": str(free_port(engine)),
        "n": engine.bridge.removeprefix("mtest"),
    }
    if kill.operation != "create":
        engine.run("network", "create", "--subnet", own_subnet(engine, 243), "made")
    if kill.operation in ("connect", "disconnect", "forward", "withdraw"):
        on = ("default",) if kill.operation == "connect" else ("made", "default")
        options = [word for name in on for word in ("--network", name)]
        engine.run("run", "-d", "--name", "bob", *options, "-p", f"{words['mine']}:80", IMAGE, *SERVER)
        eventually(lambda: answers(int(words["mine"])), "it serves")
    yield killable, words
    (killable.directory / "order").unlink(missing_ok=True)
    engine.run("delete", "--force", "bob", status=None)
    engine.run("network", "rm", "made", status=None)
    kept = {**before, "descriptors of the daemon": settled(engine)["descriptors of the daemon"]}
    assert_nothing_leaked(engine, kept)
    assert_networks_are(engine, networks_before)


def kills() -> Iterator[Any]:
    for kill in KILLS:
        yield pytest.param(kill, id=str(kill))


@pytest.mark.parametrize("kill", list(kills()))
def test_a_daemon_that_is_killed_leaves_the_next_one_the_truth(
    prepared: tuple[Killable, dict[str, str]], kill: Kill
) -> None:
    killable, words = prepared
    engine = killable.engine
    killable.order(kill.step, kill.when)
    done = engine.run(*shlex.split(OPERATIONS[kill.operation].format(**words)), status=None)
    assert killable.was_met()
    assert done.returncode == 0 or error_lines(done.stderr)
    eventually(lambda: engine.run("version", status=None).returncode == 0, "a daemon answers")
    assert_network_is_whole_or_not_there(engine)
    if "bob" in engine.out("ps", "--all", "--format", "{{.Names}}").split():
        assert_records_are_true(engine)
        assert_all_can_be_changed(engine)


def assert_network_is_whole_or_not_there(engine: PrivateEngine) -> None:
    """A network that is listed can be used and has its bridge; its name is free otherwise."""
    if "made" not in engine.out("network", "ls", "--quiet").split():
        engine.run("network", "create", "--subnet", own_subnet(engine, 243), "made")
    gateway = json.loads(engine.out("network", "inspect", "made"))[0]["gateway"]
    assert f"default via {gateway}" in engine.out("run", "--rm", "--network", "made", IMAGE, "ip", "route")


def assert_records_are_true(engine: PrivateEngine) -> None:
    """What the records say of bob's places and ports is what the kernel says."""
    if engine.status_of("bob") != "running":
        assert [item for item in endpoints(engine, "made") if item["name"] == "bob"] == []
        engine.run("start", "bob")
    assert addresses_inside(engine, "bob") == recorded_addresses(engine, "bob")
    for network in ("made", "default"):
        here = [
            item["address"].partition("/")[0] for item in endpoints(engine, network) if item["name"] == "bob"
        ]
        place = engine.inspect("bob")["NetworkSettings"]["Networks"].get(network)
        assert here == ([place["IPAddress"]] if place else [])
        hosts = engine.out("exec", "bob", "cat", "/etc/hosts").split()
        assert all(address in hosts for address in here)
    for row in engine.json("network", "ls"):
        here = len(endpoints(engine, row["name"]))
        eventually(lambda row=row, here=here: links_on(row["interface"]) == here, f"links of {row['name']}")
    for port in published(engine, "bob"):
        eventually(lambda port=port: answers(port), f"port {port} is served")


def assert_all_can_be_changed(engine: PrivateEngine) -> None:
    """Nothing stands in the way of the next change: bob leaves the network or joins it, and forwards a port."""
    on = engine.inspect("bob")["NetworkSettings"]["Networks"]
    for verb in ("disconnect", "connect") if "made" in on else ("connect", "disconnect"):
        engine.run("network", verb, "made", "bob")
        assert addresses_inside(engine, "bob") == recorded_addresses(engine, "bob")
    if recorded_addresses(engine, "bob"):
        port = free_port(engine)
        engine.run("port-forward", "bob", f"{port}:80")
        eventually(lambda: answers(port), "a further port is served")
        engine.run("port-forward", "--remove", "bob", f"{port}:80")


ELSEWHERE = {
    "create": {"driver create_network", "driver serve_names"},  # the engine's steps of the same moments
    "run": set(),
    "forward": set(),
    "withdraw": set(),
    "disconnect": {"driver publish", "driver unpublish"},
    "connect": set(),
    "remove": set(),
}
"""Steps of a driver that are killed in by another name."""


def test_the_list_of_kills_has_every_step_of_the_drivers_verbs(killable: Killable) -> None:
    engine, seen = killable.engine, killable.directory / "seen"
    words = {
        "free": str(free_port(engine)),
        "mine": str(free_port(engine)),
        "n": engine.bridge.removeprefix("mtest"),
    }
    listed = {(kill.operation, kill.step) for kill in KILLS}
    order = ("create", "run", "forward", "withdraw", "disconnect", "connect", "remove")
    try:
        for operation in order:
            if operation == "remove":
                engine.run("delete", "--force", "bob")
            settled(engine)  # what an earlier container's end does is not of this operation
            seen.unlink(missing_ok=True)
            command = OPERATIONS[operation].format(
                **words | {"mine": words["free"]} if operation == "withdraw" else words
            )
            engine.run(*shlex.split(command))
            steps = set(seen.read_text().splitlines()) - ELSEWHERE[operation]
            met = {
                (operation, step)
                for step in steps
                if step.startswith("driver ") or step in (BRIDGE_MADE, PAIR_MADE, RULES_GONE)
            }
            assert met <= listed
    finally:
        engine.run("delete", "--force", "bob", status=None)
        engine.run("network", "rm", "made", status=None)


# --- many at once -------------------------------------------------------------------------------------


def test_of_8_clients_that_forward_one_port_exactly_one_wins(scene: Scene) -> None:
    engine = scene.engine
    port, other = free_port(engine), free_port(engine)
    names = [f"racer-{index}" for index in range(CLIENTS)]
    try:
        at_once(CLIENTS, lambda index: engine.run("run", "-d", "--name", names[index], IMAGE, *SERVER))
        done = at_once(
            CLIENTS, lambda index: engine.run("port-forward", names[index], f"{port}:80", status=None)
        )
        assert sorted(item.returncode for item in done) == [0] + [125] * (CLIENTS - 1)
        for item in done:
            assert item.returncode == 0 or f"host port {port}/tcp is in use" in error_lines(item.stderr)[0]
        assert [len(published(engine, name)) for name in names] == [
            int(item.returncode == 0) for item in done
        ]
        eventually(lambda: answers(port), "the winner serves")
        again = at_once(CLIENTS, lambda _: engine.run("port-forward", "grace", f"{other}:80", status=None))
        assert sorted(item.returncode for item in again) == [0] + [125] * (CLIENTS - 1)
        assert published(engine, "grace") == [other]
    finally:
        engine.run("port-forward", "--remove", "grace", f"{other}:80", status=None)
        engine.run("delete", "--force", *names, status=None)
    assert_nothing_leaked(engine, scene.before)
    assert_networks_are(engine, scene.networks_before)


def test_8_clients_connect_and_disconnect_one_container_and_it_stays_whole(scene: Scene) -> None:
    engine = scene.engine
    engine.run("network", "create", "ring", "--subnet", own_subnet(engine, 246))
    try:

        def rewire(index: int) -> list[subprocess.CompletedProcess[str]]:
            verbs = ("connect", "disconnect") if index % 2 else ("disconnect", "connect")
            return [engine.run("network", verb, "ring", "grace", status=None) for verb in verbs * 4]

        done = [item for results in at_once(CLIENTS, rewire) for item in results]
        for item in done:
            if item.returncode:
                assert item.returncode == 125
                assert re.search(
                    r"is on network 'ring' already|is not on network 'ring'", error_lines(item.stderr)[0]
                )
        wins = {
            verb: sum(1 for item in done if not item.returncode and item.args[1] == verb)
            for verb in ("connect", "disconnect")
        }
        on = "ring" in engine.inspect("grace")["NetworkSettings"]["Networks"]
        assert wins["connect"] - wins["disconnect"] == int(on)
        assert addresses_inside(engine, "grace") == recorded_addresses(engine, "grace")
    finally:
        engine.run("network", "disconnect", "ring", "grace", status=None)
        engine.run("network", "rm", "ring")
    assert set(addresses_inside(engine, "grace")) == {"eth0"}
    assert_nothing_leaked(engine, scene.before)
    assert_networks_are(engine, scene.networks_before)


def test_a_container_that_exits_while_it_is_connected_leaves_nothing(scene: Scene) -> None:
    engine = scene.engine
    engine.run("network", "create", "brief", "--subnet", own_subnet(engine, 247))
    socket_path = str(engine.exec_root / "api.sock")
    try:
        for moment in (0.0, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03):
            engine.run("run", "-d", "--name", "mayfly", IMAGE, "sleep", "1000")
            pid = engine.inspect("mayfly")["State"]["Pid"]
            killer = threading.Timer(moment, os.kill, (pid, signal.SIGKILL))
            with connect(socket_path) as client:
                client.call("system.version")
                killer.start()
                try:
                    client.call("networks.connect", {"network": "brief", "ref": "mayfly", "attachment": {}})
                    connected = True
                except Exception as error:
                    connected = False
                    assert type(error).__name__ in ("Conflict", "NotFound", "StepFailed"), error
            killer.join()
            eventually(lambda: engine.status_of("mayfly") == "exited", "it has ended")
            listed = engine.inspect("mayfly")["NetworkSettings"]["Networks"]
            eventually(lambda: endpoints(engine, "brief") == [], "its place is given back")
            engine.run("start", "mayfly")
            assert addresses_inside(engine, "mayfly") == recorded_addresses(engine, "mayfly"), listed
            assert ("brief" in engine.inspect("mayfly")["NetworkSettings"]["Networks"]) is connected
            engine.run("delete", "--force", "mayfly")
    finally:
        engine.run("delete", "--force", "mayfly", status=None)
        engine.run("network", "rm", "brief")
    assert_nothing_leaked(engine, scene.before)
    assert_networks_are(engine, scene.networks_before)
