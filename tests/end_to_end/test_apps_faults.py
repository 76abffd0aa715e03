"""What goes wrong with apps: each is said clearly, leaves what can run, and the next ``up`` goes on from there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_directory import AppDirectory
from free_ports import free_port
from private_engine import PrivateEngine, eventually


def failed(app: AppDirectory, *words: str) -> str:
    """What an ``up`` that must fail says."""
    done = app.run("up", "--detach", *words, status=None)
    assert done.returncode not in (0, 1) and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def chain(length: int, command: str = "sleep 1000", last: str = "sleep 1000") -> str:
    """Services that depend on each other in a row: ``s0`` on nothing."""
    lines = ["services:"]
    for number in range(length):
        lines += [
            f"  s{number}:",
            "    image: small:1",
            f"    command: {last if number == length - 1 else command}",
            "    stop_grace_period: 0s",
        ]
        if number:
            lines.append(f"    depends_on: [s{number - 1}]")
    return "\n".join(lines) + "\n"


SLOW = """
    services:
      first: {image: "small:1", command: sleep 1000, stop_grace_period: 0s}
      task: {image: "small:1", command: [sh, -c, 'until [ -e /data/go ]; do sleep 0.1; done'], depends_on: [first], volumes: ['data:/data'], stop_grace_period: 0s}
      last:
        image: small:1
        command: sleep 1000
        stop_grace_period: 0s
        depends_on: {task: {condition: service_completed_successfully}}
    volumes: {data: {}}
    """
"""The second waits until it may go on: an ``up`` that is long under way."""


def under_way(app: AppDirectory) -> subprocess.Popen[bytes]:
    """An ``up`` in the background that has come to the waiting for ``task``."""
    app.write(SLOW)
    process = app.popen("up", "--detach", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(
        lambda: "task-1" in app.ids() and app.status_of("task-1") == "running", "up has come to the task"
    )
    return process


# --- images ---------------------------------------------------------------------------------------------


def test_an_image_that_is_not_to_be_pulled_is_named(app: AppDirectory) -> None:
    app.write("services: {web: {image: 'nothing-here:1', pull_policy: never}}")
    assert "service 'web': image 'nothing-here:1' is not here" in failed(app)
    assert "image pull nothing-here:1" in failed(app, "--pull", "never")
    assert app.left() == []


def test_an_image_that_no_registry_gives_is_named_and_nothing_is_made(app: AppDirectory) -> None:
    app.write(
        "services: {db: {image: 'small:1', command: sleep 1000}, web: {image: '127.0.0.1:1/nothing-here:1'}}"
    )
    assert "127.0.0.1:1" in failed(app)
    assert app.left() == []


# --- what runs inside -----------------------------------------------------------------------------------


def test_what_crashes_again_and_again_stays_the_same_container_and_goes_with_down(app: AppDirectory) -> None:
    app.write("services: {web: {image: 'small:1', command: [sh, -c, 'exit 5'], restart: always}}")
    app.up()
    before = app.ids()
    eventually(lambda: app.engine.inspect(f"{app.name}-web-1")["RestartCount"] >= 2, "it is started again")
    app.up()
    assert app.ids() == before
    app.down()
    assert app.left() == []


def test_a_command_that_is_not_there_is_named_and_its_container_is_gone(app: AppDirectory) -> None:
    app.write(chain(3, last="/nothing-here"))
    assert "/nothing-here" in failed(app)
    assert set(app.ids()) == {"s0-1", "s1-1"}
    app.write(chain(3))
    assert app.up() == [f"container {app.name}-s2-1: created"]


# --- what somebody else has -----------------------------------------------------------------------------


def test_a_port_that_two_services_want_is_named(app: AppDirectory) -> None:
    port, other = free_port(), free_port()
    text = """
        services:
          a: {{image: "small:1", command: sleep 1000, ports: ["127.0.0.1:{}:80"]}}
          b: {{image: "small:1", command: sleep 1000, ports: ["127.0.0.1:{}:80"]}}
        """
    app.write(text.format(port, port))
    assert str(port) in failed(app)
    assert len(app.ids()) == 1
    app.write(text.format(port, other))
    app.up(status=None)  # b may have won the port, and give it up only now
    app.up()
    assert set(app.ids()) == {"a-1", "b-1"} and app.up() == []


def test_a_port_that_another_app_has_is_named(app: AppDirectory, name: str) -> None:
    port = free_port()
    app.engine.run("run", "-d", "--name", name, "-p", f"127.0.0.1:{port}:80", "small:1", "sleep", "1000")
    app.write(f"services: {{web: {{image: 'small:1', command: sleep 1000, ports: ['127.0.0.1:{port}:80']}}}}")
    assert str(port) in failed(app)
    assert app.rows() == {}
    app.engine.run("delete", "--force", name)
    app.up()


def test_a_name_that_another_container_has_is_named(app: AppDirectory) -> None:
    app.engine.run("run", "-d", "--name", f"{app.name}-web-1", "small:1", "sleep", "1000")
    app.write("services: {web: {image: 'small:1', command: sleep 1000}}")
    assert f"{app.name}-web-1" in failed(app)
    app.down()
    assert app.engine.status_of(f"{app.name}-web-1") == "running", "it is not the app's"
    app.engine.run("delete", "--force", f"{app.name}-web-1")
    app.up()


@pytest.mark.parametrize("kind", ["network", "volume"])
def test_a_network_or_volume_that_is_not_the_apps_is_left_alone(app: AppDirectory, kind: str) -> None:
    other = f"{app.name}-other"
    app.engine.run(kind, "create", other)
    use = f"networks: [n]}}}}\nnetworks: {{n: {{name: {other}}}}}" if kind == "network" else f"volumes: ['n:/n']}}}}\nvolumes: {{n: {{name: {other}}}}}"  # fmt: skip
    app.write("services: {web: {image: 'small:1', command: sleep 1000, " + use)
    said = failed(app)
    assert f"there is a {kind} '{other}' that is not this app's" in said and "external: true" in said
    app.down("-v")
    assert other in app.engine.out(kind, "ls", "--quiet").split()
    app.engine.run(kind, "rm", other)
    app.up()


def test_a_network_that_others_use_holds_up_down_and_how_to_see_who_is_said(
    app: AppDirectory, name: str
) -> None:
    app.write("services: {web: {image: 'small:1', command: sleep 1000}}")
    app.up()
    app.engine.run(
        "run", "-d", "--name", name, "--network", f"{app.name}_default", "small:1", "sleep", "1000"
    )
    refused = app.run("down", "--timeout", "0", status=125).stderr
    assert "has a running container" in refused and f"network inspect {app.name}_default" in refused
    assert name in app.engine.out("network", "inspect", f"{app.name}_default")
    assert app.rows() == {}, "the app's own containers are gone"
    app.engine.run("delete", "--force", name)
    app.down()
    assert app.left() == []


# --- two at a time --------------------------------------------------------------------------------------


def go_on(app: AppDirectory) -> None:
    """What :data:`SLOW` waits for is there."""
    app.engine.run("exec", f"{app.name}-task-1", "touch", "/data/go")


def test_a_second_up_meanwhile_is_refused(app: AppDirectory) -> None:
    first = under_way(app)
    refused = failed(app)
    assert f"app '{app.name}' is being changed" in refused and "wait until that is done" in refused
    go_on(app)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert set(app.ids()) == {"first-1", "task-1", "last-1"}


def test_down_meanwhile_ends_the_up_and_leaves_nothing(app: AppDirectory) -> None:
    first = under_way(app)
    begun = time.monotonic()
    app.down("--volumes")
    assert app.left() == []
    _, said = first.communicate(timeout=60)
    assert first.returncode == 125 and b"Traceback" not in said
    assert f"app '{app.name}' is being taken down".encode() in said, said
    assert time.monotonic() - begun < 30
    app.up("first")
    assert set(app.ids()) == {"first-1"}


NEVER_HEALTHY = """
    services:
      db:
        image: "small:1"
        command: sleep 1000
        stop_grace_period: 0s
        healthcheck: {test: [CMD, "false"], interval: 200ms, retries: 1000}
"""


@pytest.mark.parametrize("waits", ["for a dependency", "with --wait", "for an update"])
def test_down_during_an_up_that_waits_is_let_in_at_once(app: AppDirectory, waits: str) -> None:
    text = NEVER_HEALTHY
    if waits == "for a dependency":
        text += "      web: {image: 'small:1', depends_on: {db: {condition: service_healthy}}}\n"
    elif waits == "for an update":
        app.write(text)
        app.up()
        text = text.replace("sleep 1000", "sleep 2000")
        text += "        deploy: {update_config: {monitor: 1h}}\n"
    app.write(text)
    first = app.popen("up", "--detach" if waits != "with --wait" else "--wait", stderr=subprocess.PIPE)
    eventually(lambda: "db-1" in app.ids(), "it waits")
    if waits == "for an update":
        eventually(lambda: len(app.ids()) == 2, "the new one is there")
    begun = time.monotonic()
    app.down()
    assert time.monotonic() - begun < 3
    assert app.left() == []
    _, said = first.communicate(timeout=30)
    assert first.returncode == 125 and f"app '{app.name}' is being taken down".encode() in said, said


def test_an_up_that_waits_and_has_lost_its_client_makes_way(app: AppDirectory) -> None:
    app.write(NEVER_HEALTHY)
    first = app.popen("up", "--wait", stderr=subprocess.DEVNULL)
    eventually(lambda: "db-1" in app.ids(), "it waits")
    first.kill()
    first.wait()
    app.up()


def test_an_up_whose_client_is_killed_can_be_gone_on_with(app: AppDirectory) -> None:
    process = under_way(app)
    process.kill()
    process.communicate()
    go_on(app)
    # The daemon notices that nobody waits for its answer any more.
    eventually(
        lambda: app.run("up", "--detach", status=None, timeout=60).returncode == 0, "another up is let in"
    )
    assert set(app.ids()) == {"first-1", "task-1", "last-1"} and app.status_of("last-1") == "running"


def test_ctrl_c_during_up_says_so_and_leaves_what_can_be_gone_on_with(app: AppDirectory) -> None:
    process = under_way(app)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0 and b"Traceback" not in said
    go_on(app)
    eventually(lambda: app.run("up", "--detach", status=None).returncode == 0, "another up is let in")


# --- the daemon dies, the disk is full ------------------------------------------------------------------


@pytest.fixture
def own(make_engine: object, tmp_path: Path) -> Iterator[AppDirectory]:
    """An app in an engine whose daemon may be killed."""
    engine = make_engine()  # type: ignore[operator]
    made = AppDirectory(engine, tmp_path, "shop")
    yield made
    made.down("--volumes")
    assert made.left() == []
    assert engine.out("ps", "--all", "--quiet") == ""


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_a_daemon_killed_during_up_leaves_what_the_next_up_finishes(own: AppDirectory, moment: float) -> None:
    own.write(chain(8))
    process = own.popen("up", "--detach", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: own.rows() or process.poll() is not None, "something is made")
    time.sleep(moment)
    os.kill(own.engine.daemon_pid, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said
    own.up()
    assert set(own.ids()) == {f"s{number}-1" for number in range(8)}
    assert {own.status_of(name) for name in own.ids()} == {"running"}
    assert own.up() == []


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3, 0.6])
def test_a_daemon_killed_while_containers_are_replaced_leaves_what_the_next_up_finishes(
    own: AppDirectory, moment: float
) -> None:
    text = chain(6)
    own.write(text)
    own.up()
    changed = text.replace("sleep 1000", "sleep 2000")
    own.write(changed)
    process = own.popen("up", "--detach", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.3 + moment)
    os.kill(own.engine.daemon_pid, signal.SIGKILL)
    process.communicate(timeout=60)
    # What is wanted has changed once more meanwhile: of two with one number the new one is replaced, the old one goes.
    own.write(text.replace("sleep 1000", "sleep 3000"))
    own.up()
    assert set(own.ids()) == {f"s{number}-1" for number in range(6)}
    for name in own.ids():
        assert own.engine.inspect(f"{own.name}-{name}")["Config"]["Cmd"][-1] == "3000"
    assert own.up() == []


def test_more_containers_than_there_can_be_are_refused_and_fewer_are_made(own: AppDirectory) -> None:
    own.write("services: {web: {image: 'small:1', command: sleep 1000, stop_grace_period: 0s}}")
    said = failed(own, "--scale", "web=40")
    assert "id" in said
    assert len(own.rows()) == 32, "as many as there are ids for"
    own.up("--scale", "web=3")
    assert set(own.ids()) == {"web-1", "web-2", "web-3"}
    assert {own.status_of(name) for name in own.ids()} == {"running"}


def test_a_daemon_killed_during_down_leaves_what_the_next_down_finishes(own: AppDirectory) -> None:
    own.write(chain(8))
    own.up()
    process = own.popen("down", "--timeout", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: len(own.rows()) < 8, "something is gone")
    os.kill(own.engine.daemon_pid, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said
    own.down()
    assert own.left() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[AppDirectory]:
    """An app in an engine that has a disk of 96 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)], check=True)
    engine = PrivateEngine(disk)
    try:
        engine.start()
        engine.import_small_image()
        yield AppDirectory(engine, tmp_path, "shop")
    finally:
        engine.end()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(ballast: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_is_said_and_when_there_is_room_up_goes_on(small_disk: AppDirectory) -> None:
    app, ballast = small_disk, small_disk.engine.directory / "ballast"
    app.write(chain(3))
    fill(ballast)
    said = failed(app)
    assert "no space left" in said.lower() or "full" in said.lower(), said
    ballast.unlink()
    app.up()
    assert set(app.ids()) == {"s0-1", "s1-1", "s2-1"} and app.up() == []
    app.down()
    assert app.left() == []
