"""``--network container:NAME``: two containers in one network namespace, which goes with the one whose it is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from free_ports import free_port
from greeting_server import ASK, SERVER, answers
from private_engine import IMAGE, PrivateEngine, eventually

HERE = ASK.format("127.0.0.1", 80)


def namespace(engine: PrivateEngine, name: str, kind: str) -> str:
    return engine.out("exec", name, "readlink", f"/proc/self/ns/{kind}")


def running(engine: PrivateEngine, *names: str) -> list[bool]:
    return [engine.status_of(name) == "running" for name in names]


@pytest.fixture
def guest(engine: PrivateEngine, name: str) -> Iterator[str]:
    """The name of a container that will use the network of container ``name``."""
    yield f"{name}-2"
    engine.run("delete", "--force", f"{name}-2", status=None)


@pytest.fixture
def pair(engine: PrivateEngine, name: str, guest: str) -> tuple[str, str]:
    """A web server, and a container that uses its network."""
    engine.run("run", "-d", "--name", name, "--stop-timeout", "1", IMAGE, *SERVER)
    share(engine, name, guest)
    return name, guest


def share(engine: PrivateEngine, name: str, guest: str, *options: str) -> None:
    words = ("--name", guest, "--network", f"container:{name}", "--stop-timeout", "1", *options)
    engine.run("run", "-d", *words, IMAGE, "sleep", "1000")


def test_two_containers_see_each_other_at_the_loopback(engine: PrivateEngine, pair: tuple[str, str]) -> None:
    server, guest = pair
    eventually(lambda: "hello" in engine.out("exec", guest, "sh", "-c", HERE), "the server answers")
    for kind in ("net", "user"):
        assert namespace(engine, server, kind) == namespace(engine, guest, kind)
    for kind in ("pid", "mnt", "uts", "ipc"):
        assert namespace(engine, server, kind) != namespace(engine, guest, kind)
    for file in ("/etc/hosts", "/etc/resolv.conf"):
        assert engine.out("exec", server, "cat", file) == engine.out("exec", guest, "cat", file)
    assert "eth0" in engine.out("exec", guest, "ls", "/sys/class/net"), "its /sys is of that network too"


def test_the_ports_of_one_lead_to_the_other_low_ones_too(
    engine: PrivateEngine, name: str, guest: str
) -> None:
    port = free_port()
    engine.run("run", "-d", "--name", name, "-p", f"{port}:80", IMAGE, "sleep", "1000")
    engine.run("run", "-d", "--name", guest, "--network", f"container:{name}", IMAGE, *SERVER)
    eventually(lambda: answers(port), "the guest's server answers at the published port")
    assert "hello" in engine.out("exec", name, "sh", "-c", HERE)


def test_a_network_that_one_joins_later_is_there_for_both(
    engine: PrivateEngine, pair: tuple[str, str]
) -> None:
    server, guest = pair
    network = f"net-{server}"
    engine.run("network", "create", network)
    try:
        engine.run("network", "connect", network, server)
        place = engine.inspect(server)["NetworkSettings"]["Networks"][network]["IPAddress"]
        assert place in engine.out("exec", guest, "ip", "address")
        assert place in engine.out("exec", guest, "cat", "/etc/hosts")
    finally:
        engine.run("delete", "--force", server)
        engine.run("network", "rm", network)


def test_what_is_told_of_it_is_so(engine: PrivateEngine, pair: tuple[str, str]) -> None:
    server, guest = pair
    record, other = engine.inspect(guest), engine.inspect(server)
    assert record["HostConfig"]["NetworkMode"] == f"container:{other['Id']}"
    assert record["NetworkSettings"]["Networks"] == {} and record["IDMappings"] == other["IDMappings"]
    place = other["NetworkSettings"]["IPAddress"]
    told = engine.out("explain", guest)
    assert f"It uses the network of container {server}." in told and "another container's" in told
    assert place in told and "bridge" in told, "the way out is that of the other"
    refused = engine.run("explain", "--as-shell", guest, status=125).stderr
    assert f"explain --as-shell {server}" in refused
    engine.run("stop", server)
    assert f"It uses the network of container {server}." in engine.out("explain", guest)


def test_starting_one_starts_the_other_and_stopping_that_stops_it(
    engine: PrivateEngine, pair: tuple[str, str]
) -> None:
    server, guest = pair
    engine.run("stop", server)
    assert running(engine, server, guest) == [False, False]
    engine.run("start", guest)
    assert running(engine, server, guest) == [True, True]
    eventually(lambda: "hello" in engine.out("exec", guest, "sh", "-c", HERE), "the server answers")
    engine.run("stop", guest)
    assert running(engine, server, guest) == [True, False]


@pytest.mark.parametrize("verb", ["restart", "reset"])
def test_both_are_in_a_new_namespace_after_a_restart(
    engine: PrivateEngine, pair: tuple[str, str], verb: str
) -> None:
    server, guest = pair
    before = namespace(engine, guest, "net")
    engine.run(verb, server)
    assert running(engine, server, guest) == [True, True]
    assert namespace(engine, guest, "net") == namespace(engine, server, "net") != before


def test_a_namespace_goes_with_the_container_whose_it_is(
    engine: PrivateEngine, pair: tuple[str, str]
) -> None:
    server, guest = pair
    address = engine.inspect(server)["NetworkSettings"]["IPAddress"]
    engine.run("kill", server)
    eventually(lambda: running(engine, server, guest) == [False, False], "both end")
    assert engine.inspect(guest)["State"]["ExitCode"] == 128 + signal.SIGKILL
    assert address in engine.out("run", "--rm", "--ip", address, IMAGE, "ip", "address"), "it is free"


def test_a_restart_policy_brings_both_back(engine: PrivateEngine, name: str, guest: str) -> None:
    words = ("--name", name, "--restart", "always")
    engine.run("run", "-d", *words, IMAGE, "sh", "-c", "sleep 1; exit 1")
    share(engine, name, guest, "--restart", "always")
    first = engine.inspect(guest)["State"]["Pid"]
    eventually(
        lambda: engine.inspect(guest)["RestartCount"] and running(engine, name, guest) == [True, True], "both"
    )
    assert engine.inspect(guest)["State"]["Pid"] != first


def test_a_restart_policy_does_not_bring_back_what_was_stopped(
    engine: PrivateEngine, name: str, guest: str
) -> None:
    engine.run("run", "-d", "--name", name, "--stop-timeout", "0", IMAGE, "sleep", "1000")
    words = ("--name", guest, "--network", f"container:{name}", "--restart", "always")
    engine.run("run", "-d", *words, IMAGE, "false")
    eventually(lambda: engine.inspect(guest)["RestartCount"] >= 2, "it is restarted again and again")
    engine.run("stop", name)
    pause = 2.0  # seconds, longer than the back-off is by now
    time.sleep(pause)
    assert running(engine, name, guest) == [False, False]


def test_without_the_other_it_does_not_start_and_says_so(
    engine: PrivateEngine, pair: tuple[str, str]
) -> None:
    server, guest = pair
    engine.run("delete", "--force", server)
    eventually(lambda: running(engine, guest) == [False], "it ended with the other")
    refused = engine.run("start", guest, status=125).stderr
    assert "uses the network of container" in refused and "which is gone" in refused
    engine.run("run", "-d", "--name", server, IMAGE, "sleep", "1000")
    assert "which is gone" in engine.run("start", guest, status=125).stderr, "a name is not the container"
    engine.run("delete", guest)


def test_one_that_can_never_come_back_is_tried_less_and_less(
    engine: PrivateEngine, name: str, guest: str
) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    share(engine, name, guest, "--restart", "always")
    engine.run("delete", "--force", name)
    eventually(lambda: "which is gone" in engine.inspect(guest)["State"]["Error"], "it is told")
    before = engine.inspect(guest)["RestartCount"]
    time.sleep(1.0)  # in which 0.1 s after each failure would be ten
    assert 0 < engine.inspect(guest)["RestartCount"] - before + 1 <= 5


def test_a_guest_that_ends_takes_nothing_along(engine: PrivateEngine, pair: tuple[str, str]) -> None:
    server, guest = pair
    engine.run("delete", "--force", guest)
    eventually(lambda: "hello" in engine.out("exec", server, "sh", "-c", HERE), "the server answers")
    assert "default" in engine.inspect(server)["NetworkSettings"]["Networks"]


def test_what_cannot_be_shared_is_refused(engine: PrivateEngine, pair: tuple[str, str]) -> None:
    server, guest = pair
    for network, words, cause in (
        (guest, (), "uses the network of another one itself"),
        ("nobody", (), "no such container: 'nobody'"),
        (server, ("-p", "8080:80"), "networking.ports: the network is that of container"),
        (server, ("--add-host", "a:192.0.2.1"), "networking.extra_hosts"),
        (server, ("--network", "default"), "stand alone"),
        (server, ("--userns", "host"), ""),
        (
            server,
            ("--isolation", "oci"),
            "isolation driver 'oci' does not share a network between containers",
        ),
        (server, ("--sysctl", "net.core.somaxconn=10"), "net.core.somaxconn would be that of container"),
    ):
        run = engine.run(
            "run", "--rm", "--network", f"container:{network}", *words, IMAGE, "true", status=None
        )
        assert (run.returncode, run.stderr) == (0, "") if not cause else cause in run.stderr, run.stderr
    assert (
        "another container's network" in engine.run("network", "connect", "default", guest, status=125).stderr
    )
    assert "uses another's network" in engine.run("port-forward", guest, "8095:80", status=125).stderr


def test_one_without_a_user_namespace_is_shared_with_its_like_only(
    engine: PrivateEngine, name: str, guest: str
) -> None:
    engine.run("run", "-d", "--name", name, "--userns", "host", IMAGE, "sleep", "1000")
    words = ("--network", f"container:{name}", IMAGE, "readlink", "/proc/self/ns/net")
    assert "has no user namespace" in engine.run("run", "--rm", *words, status=125).stderr
    assert engine.out("run", "--rm", "--userns", "host", *words) == namespace(engine, name, "net")
    on_host = f"{name}-2"
    engine.run("run", "-d", "--name", on_host, "--network", "host", IMAGE, "sleep", "1000")
    refused = engine.run("run", "--rm", "--network", f"container:{on_host}", IMAGE, "true", status=125).stderr
    assert "use --network host" in refused


def test_it_outlives_daemon_and_supervisor(
    make_engine: Callable[..., PrivateEngine], engine: PrivateEngine
) -> None:
    own = make_engine()
    own.run("run", "-d", "--name", "server", IMAGE, *SERVER)
    share(own, "server", "guest")
    os.kill(own.supervisor_pid, signal.SIGKILL)
    eventually(lambda: "hello" in own.out("exec", "guest", "sh", "-c", HERE), "the server answers")
    os.kill(own.daemon_pid, signal.SIGKILL)
    eventually(lambda: own.run("ps", status=None).returncode == 0, "there is a daemon again")
    assert "hello" in own.out("exec", "guest", "sh", "-c", HERE)
    own.run("kill", "server")
    eventually(lambda: running(own, "server", "guest") == [False, False], "both end")
