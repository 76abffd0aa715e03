"""Names of containers: asked for by the containers themselves, answered by a process without rights."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from greeting_server import ASK, SERVER, await_servers
from private_engine import IMAGE, PrivateEngine, eventually


@pytest.fixture
def network(engine: PrivateEngine, name: str) -> Iterator[str]:
    """A network with this test's name."""
    made = f"n-{name}"
    engine.run("network", "create", made)
    yield made
    for container in (name, f"{name}-2"):
        engine.run("delete", "--force", container, status=None)
    engine.run("network", "rm", made, status=None)


def look_up(engine: PrivateEngine, container: str, name: str, status: int | None = 0) -> str:
    """What busybox's nslookup prints, the answer apart from the server."""
    done = engine.run("exec", container, "nslookup", name, status=status)
    return done.stdout.partition("\n\n")[2] + done.stderr


def address(engine: PrivateEngine, name: str, network: str) -> str:
    found: str = engine.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"]
    return found


def resolver_pid(engine: PrivateEngine) -> int:
    return next(pid for pid, line in engine.processes().items() if "multios.resolver" in line)


def test_containers_are_found_by_name_alias_and_short_id(
    engine: PrivateEngine, name: str, network: str
) -> None:
    engine.run("run", "-d", "--name", name, "--network", f"{network}:alias=board", IMAGE, "sleep", "1000")
    engine.run("run", "-d", "--name", f"{name}-2", "--network", network, IMAGE, "sleep", "1000")
    place = address(engine, name, network)
    for asked in (name, name.upper(), "board", engine.inspect(name)["Id"][:12]):
        assert place in look_up(engine, f"{name}-2", asked)
    assert name in look_up(engine, f"{name}-2", place), "the way back"
    assert "NXDOMAIN" in look_up(engine, name, "nobody", status=None)
    gateway = engine.json("network", "ls", "--filter", f"name={network}")[0]["gateway"]
    assert f"nameserver {gateway}" in engine.out("exec", name, "cat", "/etc/resolv.conf")


def test_a_database_is_reached_by_name(engine: PrivateEngine, name: str, network: str) -> None:
    engine.run("run", "-d", "--name", name, "--network", network, IMAGE, *SERVER)
    await_servers(engine, name)
    ask = ASK.format(f"$(nslookup {name} | sed -n 's/^Address: //p' | tail -n 1)", 80)
    assert "hello" in engine.out("run", "--rm", "--network", network, IMAGE, "sh", "-c", ask)


def test_names_come_and_go_with_connections_and_renames(
    engine: PrivateEngine, name: str, network: str
) -> None:
    engine.run("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
    engine.run("run", "-d", "--name", f"{name}-2", IMAGE, "sleep", "1000")
    assert "NXDOMAIN" in look_up(engine, name, f"{name}-2", status=None), "networks are apart"
    engine.run("network", "connect", "--alias", "guest", network, f"{name}-2")
    assert address(engine, f"{name}-2", network) in look_up(engine, name, "guest")
    engine.run("rename", f"{name}-2", f"{name}-new")
    assert "NXDOMAIN" in look_up(engine, name, f"{name}-2", status=None)
    assert address(engine, f"{name}-new", network) in look_up(engine, name, f"{name}-new")
    engine.run("rename", f"{name}-new", f"{name}-2")
    engine.run("network", "disconnect", network, f"{name}-2")
    assert "NXDOMAIN" in look_up(engine, name, "guest", status=None)
    engine.run("delete", "--force", f"{name}-2")


@pytest.fixture
def replicas(engine: PrivateEngine, name: str, network: str) -> Iterator[list[str]]:
    """Three containers with the alias ``web``, each of which serves its own name."""
    made = [f"{name}-{letter}" for letter in "abc"]
    for one in made:
        serve = f"echo {one} > /tmp/who; exec httpd -f -p 80 -h /tmp"
        engine.run("run", "-d", "--name", one, "--network", network, "--network-alias", "web", IMAGE, "sh", "-c", serve)  # fmt: skip
    engine.run("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
    await_servers(engine, *made)
    yield made
    engine.run("delete", "--force", *made, status=None)


def fetched(engine: PrivateEngine, name: str, times: int) -> Counter[str]:
    """Who has answered a client that asks for ``web`` again and again."""
    ask = f"for i in $(seq {times}); do wget -q -O - http://web/who; done"
    return Counter(engine.out("exec", name, "sh", "-c", ask).split())


def told(engine: PrivateEngine, name: str, asked: str) -> set[str]:
    """The addresses that a look-up gives."""
    lines = look_up(engine, name, asked, status=None).splitlines()
    return {line.removeprefix("Address: ") for line in lines if line.startswith("Address: ")}


def test_clients_of_one_alias_are_spread_over_all_who_have_it(
    engine: PrivateEngine, name: str, replicas: list[str]
) -> None:
    answered = fetched(engine, name, 90)  # with 60, one run of 200 would fail by chance
    assert sorted(answered) == replicas and sum(answered.values()) == 90
    assert min(answered.values()) >= 10


def test_who_is_paused_or_stopped_is_left_out_at_once_and_back_at_once(
    engine: PrivateEngine, name: str, network: str, replicas: list[str]
) -> None:
    places = {one: address(engine, one, network) for one in replicas}
    assert told(engine, name, "web") == set(places.values())
    first, second, third = replicas
    engine.run("pause", first)
    assert told(engine, name, "web") == {places[second], places[third]}
    assert told(engine, name, first) == set()
    engine.run("kill", second)
    engine.run("wait", second)
    eventually(lambda: told(engine, name, "web") == {places[third]}, "it has ended")
    assert fetched(engine, name, 5) == {third: 5}
    engine.run("resume", first)
    assert told(engine, name, "web") == {places[first], places[third]}
    engine.run("start", second)
    assert len(told(engine, name, "web")) == 3
    engine.run("pause", first)
    engine.run("rename", first, f"{first}-renamed")
    engine.run("network", "repair")
    assert len(told(engine, name, "web")) == 2, "a paused one stays out"
    engine.run("rename", f"{first}-renamed", first)
    engine.run("stop", "-t", "0", first)  # which lets it run once more
    eventually(lambda: len(told(engine, name, "web")) == 2, "it has ended")


def test_a_new_daemon_leaves_the_paused_out_too(make_engine: object) -> None:
    engine: PrivateEngine = make_engine()  # type: ignore[operator]
    for one in ("one", "two"):
        engine.run("run", "-d", "--name", one, "--network-alias", "web", IMAGE, "sleep", "1000")
    engine.run("pause", "one")
    os.kill(engine.daemon_pid, signal.SIGKILL)
    eventually(lambda: engine.run("version", status=None).returncode == 0, "a daemon answers")
    assert told(engine, "two", "web") == {address(engine, "two", "default")}
    engine.run("resume", "one")
    assert len(told(engine, "two", "web")) == 2
    engine.run("delete", "--force", "one", "two")


def test_the_resolver_has_no_rights(engine: PrivateEngine, name: str, network: str) -> None:
    pid = resolver_pid(engine)
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == {"65534"} and set(status["Gid"].split()) == {"65534"}
    assert status["Groups"].strip() == ""
    for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"].strip() == "1"
    assert os.listdir(f"/proc/{pid}/root/") == []


def test_names_survive_the_daemon_and_the_resolver(make_engine: object) -> None:
    engine: PrivateEngine = make_engine()  # type: ignore[operator]
    engine.run("run", "-d", "--name", "one", IMAGE, "sleep", "1000")
    engine.run("run", "-d", "--name", "two", IMAGE, "sleep", "1000")
    place = address(engine, "two", "default")
    assert place in look_up(engine, "one", "two")
    resolver = resolver_pid(engine)
    os.kill(engine.daemon_pid, signal.SIGKILL)
    eventually(lambda: engine.run("version", status=None).returncode == 0, "a daemon answers")
    assert place in look_up(engine, "one", "two")
    assert resolver_pid(engine) == resolver, "the next daemon took it over"
    os.kill(resolver, signal.SIGKILL)
    eventually(lambda: place in look_up(engine, "one", "two", status=None), "it is there again")
    assert resolver_pid(engine) != resolver
    engine.run("delete", "--force", "two")
    assert "NXDOMAIN" in look_up(engine, "one", "two", status=None)
    engine.run("delete", "--force", "one")


def test_many_ask_at_once(engine: PrivateEngine, name: str, network: str) -> None:
    engine.run("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
    place, told = address(engine, name, network), []
    asked = (
        f"i=0; while [ $i -lt 50 ]; do nslookup {name} >/dev/null || echo failed; i=$((i+1)); done; echo done"
    )

    def ask() -> None:
        told.append(engine.out("exec", name, "sh", "-c", asked))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["done"] * 4
    assert place in look_up(engine, name, name)
