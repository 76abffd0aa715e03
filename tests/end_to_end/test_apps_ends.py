"""``up`` until a container ends, containers that are removed, and the images that they are made from."""

from __future__ import annotations

import signal
import subprocess

import pytest

from app_directory import AppDirectory
from private_engine import eventually

TESTED = """
    services:
      web:
        image: small:1
        command: [sh, -c, 'trap "echo bye; exit 7" TERM; echo hello; while true; do sleep 0.1; done']
      tests:
        image: small:1
        command: [sh, -c, 'echo tested; exit 3']
        depends_on: [web]
"""


def test_up_stops_all_when_a_container_ends_and_has_its_status(app: AppDirectory) -> None:
    app.write(TESTED)
    done = app.run("up", "--abort-on-container-exit", status=3)
    assert f"{app.name}-tests-1 has ended" in done.stderr
    assert "tests-1 | tested" in done.stdout and "web-1   | bye" in done.stdout
    assert {app.status_of(name) for name in app.ids()} == {"exited"}


def test_up_has_the_status_of_the_service_that_is_asked_for(app: AppDirectory) -> None:
    app.write(TESTED)
    app.run("up", "--exit-code-from", "tests", status=3)
    app.run("up", "--abort-on-container-exit", "--exit-code-from", "web", status=7)


def test_a_task_that_others_wait_for_may_end(app: AppDirectory) -> None:
    app.write(
        """
        services:
          migrate: {image: "small:1", command: ["true"]}
          web:
            image: small:1
            command: [sh, -c, 'sleep 2; exit 5']
            depends_on: {migrate: {condition: service_completed_successfully}}
        """
    )
    app.run("up", "--abort-on-container-exit", status=5)


def test_a_silent_service_ends_the_others_too(app: AppDirectory) -> None:
    app.write(TESTED.replace("depends_on", "attach: false\n        depends_on"))
    done = app.run("up", "--exit-code-from", "tests", status=3)
    assert "tested" not in done.stdout


def test_ctrl_c_gives_the_status_that_is_asked_for(app: AppDirectory) -> None:
    app.write(TESTED.replace("exit 3", "sleep 1000").replace("echo tested", "exec sleep 1000"))
    attached = app.popen(
        "up", "-t", "5", "--exit-code-from", "web", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert attached.stdout is not None and b"hello" in attached.stdout.readline()
    attached.send_signal(signal.SIGINT)
    attached.communicate(timeout=30)
    assert attached.returncode == 7


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--abort-on-container-exit", "--detach"), "--detach does not"),
        (("--exit-code-from", "tests", "--wait"), "--wait does not"),
        (("--exit-code-from", "tests", "--no-start"), "--no-start does not"),
        (("--exit-code-from", "test"), "did you mean 'tests'"),
        (("--exit-code-from", "tests", "web"), "takes one of: web"),
    ],
)
def test_what_nobody_would_see_end_is_refused(app: AppDirectory, words: tuple[str, ...], says: str) -> None:
    app.write(TESTED)
    assert says in app.run("up", *words, status=125).stderr
    assert app.left() == []


# --- rm -------------------------------------------------------------------------------------------------


def test_containers_that_do_not_run_are_removed(app: AppDirectory) -> None:
    app.write(TESTED)
    app.up()
    eventually(lambda: app.status_of("tests-1") == "exited", "the tests have ended")
    assert app.out("rm", "--force") == f"{app.name}-tests-1"
    assert set(app.ids()) == {"web-1"}
    assert app.out("rm", "web") == ""
    assert set(app.out("rm", "--stop", "-f", "web").split()) == {f"{app.name}-web-1"}
    assert app.left() == [f"network {app.name}_default"]
    assert "no container of a service 'wbe'" in app.run("rm", "wbe", status=125).stderr


# --- images ---------------------------------------------------------------------------------------------


def test_the_images_of_the_containers_are_listed(app: AppDirectory) -> None:
    app.write(TESTED)
    app.up()
    (image,) = app.engine.json("images", "--filter", "reference=small:1")
    rows = app.engine.json("app", "--project-directory", str(app.directory), "images")
    assert [row["container"] for row in rows] == [f"{app.name}-tests-1", f"{app.name}-web-1"]
    assert {row["id"] for row in rows} == {image["id"]} and {row["size"] for row in rows} == {image["size"]}
    lines = app.out("images", "web").splitlines()
    assert lines[0].split() == ["CONTAINER", "IMAGE", "IMAGE", "ID", "CREATED", "SIZE"]
    assert lines[1].split()[:2] == [f"{app.name}-web-1", "small:1"] and len(lines) == 2
    assert len(app.out("images", "--quiet").split()) == 1


# --- run ------------------------------------------------------------------------------------------------


def test_a_single_run_has_volumes_and_ports_of_its_own(app: AppDirectory) -> None:
    app.write(
        """
        services:
          db: {image: "small:1", command: [sleep, "1000"], stop_grace_period: 0s, volumes: ["data:/data"]}
          web: {image: "small:1", depends_on: [db], volumes: ["own:/own"], tmpfs: [/fast], ports: ["127.0.0.1::81"]}
        volumes: {data: {}, own: {}}
        """
    )
    (app.directory / "here").mkdir()
    app.write("page\n", "here/page")
    app.run("run", "--rm", "-T", "-v", "data:/elsewhere", "web", "touch", "/elsewhere/seen")
    assert app.out("exec", "-T", "db", "ls", "/data") == "seen"
    here = str(app.directory / "here")
    assert app.out("run", "--rm", "-T", "-v", f"{here}:/own:ro", "web", "cat", "/own/page") == "page"
    assert app.out("run", "--rm", "-T", "-v", f"{here}:/fast", "web", "cat", "/fast/page") == "page"
    app.run("run", "-d", "--name", f"{app.name}-a", "-p", "127.0.0.1::80", "web", "sleep", "1000")
    assert [port["container"] for port in app.rows()[f"{app.name}-a"]["ports"]] == [80]
    assert app.up() == [f"container {app.name}-web-1: created"]
    assert "--publish: 'x'" in app.run("run", "-p", "x", "web", status=125).stderr


def test_for_a_single_run_the_networks_of_the_service_are_made_too(app: AppDirectory) -> None:
    app.write(
        """
        services:
          db: {image: "small:1", command: [sleep, "1000"], stop_grace_period: 0s, networks: [back]}
          web: {image: "small:1", depends_on: [db], networks: [front]}
        networks: {front: {}, back: {}}
        """
    )
    assert app.out("run", "--rm", "-T", "web", "echo", "here") == "here"
