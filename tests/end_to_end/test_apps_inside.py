"""What one does with an app that runs: logs, commands inside, single runs, copies, start and stop, the files as understood."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest
import yaml

from app_directory import AppDirectory
from greeting_server import answers
from private_engine import eventually

TALKERS = """
    services:
      web:
        image: small:1
        command: [sh, -c, 'echo web says $$HOSTNAME; echo to-stderr >&2; exec sleep 1000']
        deploy: {replicas: 2}
        depends_on: [db]
        environment: {MODE: file}
        stop_grace_period: 0s
      db:
        image: small:1
        command: [sh, -c, 'echo db is here; exec sleep 1000']
        stop_grace_period: 0s
"""


@pytest.fixture
def talking(app: AppDirectory) -> AppDirectory:
    """An app that runs and has written its first lines."""
    app.write(TALKERS)
    app.up()
    eventually(lambda: len(app.out("logs", "--no-log-prefix").splitlines()) == 3, "all have written")
    return app


def lines(text: str) -> list[str]:
    return sorted(text.splitlines())


# --- logs -----------------------------------------------------------------------------------------------


def test_every_line_of_the_log_says_whose_it_is(talking: AppDirectory) -> None:
    ids = talking.ids()
    done = talking.run("logs")
    assert lines(done.stdout) == [
        "db-1  | db is here",
        f"web-1 | web says {ids['web-1'][:12]}",
        f"web-2 | web says {ids['web-2'][:12]}",
    ]
    assert lines(done.stderr) == ["web-1 | to-stderr", "web-2 | to-stderr"]
    assert talking.out("logs", "db") == "db-1 | db is here"
    assert talking.out("logs", "--no-log-prefix", "db") == "db is here"


def test_of_the_log_one_may_have_the_end_or_the_times(talking: AppDirectory) -> None:
    talking.engine.run("exec", f"{talking.name}-db-1", "sh", "-c", "echo second > /proc/1/fd/1")
    eventually(lambda: "second" in talking.out("logs", "db"), "it has written")
    assert talking.out("logs", "--tail", "1", "db") == "db-1 | second"
    stamped = talking.out("logs", "--timestamps", "db").splitlines()
    assert [line.split()[2][:2] for line in stamped] == ["20", "20"]


def test_following_shows_what_comes_and_who_comes_and_ends_with_all(talking: AppDirectory) -> None:
    follower = talking.popen("logs", "--follow", bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    talking.run("scale", "web=3")
    assert follower.stdout is not None
    seen = set()
    while b"web-3" not in seen:  # it looks for new containers once a second
        line = follower.stdout.readline()
        assert line, f"it ended: {seen}"
        seen.add(line.split(b" ")[0])
    talking.run("stop", "--timeout", "0")
    out, _ = follower.communicate(timeout=30)
    assert follower.returncode == 0
    seen |= {line.split(b" ")[0] for line in out.splitlines()}
    assert seen == {b"db-1", b"web-1", b"web-2", b"web-3"}


def test_up_shows_the_logs_until_all_have_ended(app: AppDirectory) -> None:
    app.write(
        "services: {a: {image: 'small:1', command: echo hello}, b: {image: 'small:1', command: echo bye}}"
    )
    done = app.run("up")
    assert lines(done.stdout) == ["a-1 | hello", "b-1 | bye"]


def test_ctrl_c_stops_the_app(app: AppDirectory) -> None:
    app.write(TALKERS)
    attached = app.popen("up", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert attached.stdout is not None and attached.stdout.readline()
    attached.send_signal(signal.SIGINT)
    _, said = attached.communicate(timeout=30)
    assert b"stopping" in said and b"Traceback" not in said
    assert {app.status_of(name) for name in app.ids()} == {"exited"}


STUBBORN = """
    services:
      polite:
        image: small:1
        command: [sh, -c, 'trap "echo bye; exit" TERM; echo hello; while true; do sleep 0.1; done']
      stubborn:
        image: small:1
        command: [sh, -c, 'trap "" TERM; while true; do sleep 0.1; done']
        stop_grace_period: 10m
        depends_on: [polite]
"""


def test_after_ctrl_c_last_words_are_shown_and_another_one_kills(app: AppDirectory) -> None:
    app.write(STUBBORN.replace("depends_on: [polite]", ""))
    attached = app.popen("up", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert attached.stdout is not None and b"hello" in attached.stdout.readline()
    attached.send_signal(signal.SIGINT)
    eventually(lambda: app.status_of("polite-1") == "exited", "the polite one has ended")
    assert app.status_of("stubborn-1") == "running"
    attached.send_signal(signal.SIGINT)
    shown, _ = attached.communicate(timeout=30)
    assert "polite-1   | bye" in lines(shown.decode())
    assert {app.status_of(name) for name in app.ids()} == {"exited"}


def test_ctrl_c_stops_what_was_brought_up_with_a_service_and_kills_it_with_the_next(
    app: AppDirectory,
) -> None:
    app.write(STUBBORN)
    attached = app.popen("up", "stubborn", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert attached.stdout is not None and b"hello" in attached.stdout.readline()
    attached.send_signal(signal.SIGINT)
    assert attached.stderr is not None and any(b"once more" in line for line in attached.stderr)
    attached.send_signal(signal.SIGINT)
    attached.communicate(timeout=30)
    assert {app.status_of(name) for name in app.ids()} == {"exited"}


def test_up_shows_what_is_written_from_now_on(app: AppDirectory) -> None:
    app.write("services: {a: {image: 'small:1', command: cat /proc/sys/kernel/random/uuid}}")
    first, second = (lines(app.run("up").stdout) for _ in range(2))
    assert len(first) == len(second) == 1 and first != second


def test_who_follows_an_app_that_is_taken_down_sees_it_end(app: AppDirectory) -> None:
    app.write(TALKERS)
    attached = app.popen("up", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert attached.stdout is not None and attached.stdout.readline()
    following = app.popen("logs", "--follow", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert following.stdout is not None and following.stdout.readline()
    app.down()
    for process in (attached, following):
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0 and b"Error" not in said, said


# --- inside ---------------------------------------------------------------------------------------------


def test_commands_run_in_the_first_or_a_chosen_container(talking: AppDirectory) -> None:
    ids = talking.ids()
    hostname = ("exec", "-T", "web", "cat", "/etc/hostname")
    assert talking.out(*hostname) == ids["web-1"][:12]
    assert talking.out("exec", "-T", "--index", "2", *hostname[2:]) == ids["web-2"][:12]
    assert talking.run("exec", "-T", "web", "sh", "-c", "exit 7", status=7)
    assert talking.out("exec", "-T", "-e", "MODE=mine", "web", "sh", "-c", "echo $MODE") == "mine"
    assert talking.out("exec", "-T", "-i", "web", "cat", input="from stdin") == "from stdin"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("exec", "wbe", "true"), "did you mean 'web'"),
        (("exec", "--index", "9", "web", "true"), "has no container 9"),
        (("logs", "wbe"), "did you mean 'web'"),
        (("stop", "wbe"), "did you mean 'web'"),
        (("up", "-d", "wbe"), "did you mean 'web'"),
        (("run", "wbe"), "did you mean 'web'"),
        (("port", "web", "80"), "publishes no port 80/tcp"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(
    talking: AppDirectory, words: tuple[str, ...], says: str
) -> None:
    assert says in talking.run(*words, status=125).stderr


def test_in_a_stopped_service_nothing_runs(talking: AppDirectory) -> None:
    talking.run("stop", "--timeout", "0", "web")
    refused = talking.run("exec", "-T", "web", "true", status=125).stderr
    assert "'web' does not run" in refused and "up -d web" in refused


def test_files_go_in_and_out_of_a_service(talking: AppDirectory) -> None:
    file = talking.write("hello\n", "page.html")
    talking.run("cp", str(file), "web:/srv.html")
    talking.run("cp", "--index", "2", str(file), "web:/second.html")
    assert talking.out("exec", "-T", "web", "cat", "/srv.html") == "hello"
    talking.run("exec", "-T", "web", "test", "-e", "/second.html", status=1)
    back = talking.directory / "back.html"
    talking.run("cp", "--index", "2", "web:/second.html", str(back))
    assert back.read_text() == "hello\n"


def test_a_path_of_every_container_is_collected_below_its_name(talking: AppDirectory) -> None:
    target = talking.directory / "handed-in"
    for index in ("1", "2"):
        talking.run("exec", "-T", "--index", index, "web", "sh", "-c", f"echo work {index} > /root/answer")
    done = talking.run("collect", "/root/answer", "--to", str(target), "web")
    names = [f"{talking.name}-web-{index}" for index in (1, 2)]
    assert done.stdout.split() == names
    assert [(target / name / "answer").read_text() for name in names] == ["work 1\n", "work 2\n"]
    some = talking.run("collect", "/root/answer", "--to", str(target), status=125)
    assert "/root/answer" in some.stderr and some.stdout.split() == names  # of db there is none


# --- single runs ----------------------------------------------------------------------------------------


def test_a_single_run_is_made_as_the_service_is_and_goes(app: AppDirectory) -> None:
    app.write(TALKERS)
    done = app.run("run", "--rm", "-T", "web", "sh", "-c", "echo $MODE; exit 3", status=3)
    assert done.stdout == "file\n"
    assert set(app.ids()) == {"db-1"}, "what it depends on is brought up, the service itself is not"
    assert app.out("run", "--rm", "-T", "-e", "MODE=mine", "web", "sh", "-c", "echo $MODE") == "mine"
    assert app.out("run", "--rm", "-T", "--entrypoint", "echo", "web", "hi") == "hi"


def test_a_single_run_is_no_replica(talking: AppDirectory) -> None:
    name = talking.out("run", "--detach", "web", "sleep", "1000")
    assert name and len(talking.ids()) == 4
    assert talking.up() == []
    assert talking.run("scale", "web=1").returncode == 0
    assert len(talking.ids()) == 3


def test_without_what_it_depends_on_only_the_networks_are_made(app: AppDirectory) -> None:
    app.write(TALKERS)
    assert app.out("run", "--rm", "--no-deps", "-T", "web", "echo", "alone") == "alone"
    assert app.left() == [f"network {app.name}_default"]


def test_a_single_run_of_what_depends_on_nothing_leaves_its_service_alone(talking: AppDirectory) -> None:
    before = talking.ids()
    talking.write(TALKERS.replace("db is here", "db is another"))
    assert talking.out("run", "--rm", "-T", "db", "echo", "once") == "once"
    assert talking.ids() == before


def test_single_runs_publish_ports_only_when_asked_to(app: AppDirectory) -> None:
    app.write("services: {web: {image: 'small:1', ports: ['127.0.0.1::80']}}")
    app.run("run", "--detach", "--name", f"{app.name}-a", "web", "sleep", "1000")
    app.run("run", "--detach", "--service-ports", "--name", f"{app.name}-b", "web", "sleep", "1000")
    rows = app.rows()
    assert [len(rows[f"{app.name}-{letter}"]["ports"]) for letter in "ab"] == [0, 1]


# --- start, stop, restart -------------------------------------------------------------------------------


def test_stop_and_start_keep_containers_and_their_order(talking: AppDirectory) -> None:
    before = talking.ids()
    stopped = talking.out("stop", "--timeout", "0").split()
    assert stopped[-1] == f"{talking.name}-db-1" and len(stopped) == 3
    assert {talking.status_of(name) for name in before} == {"exited"}
    started = talking.out("start").split()
    assert started[0] == f"{talking.name}-db-1" and len(started) == 3
    assert {talking.status_of(name) for name in before} == {"running"}
    assert talking.ids() == before
    assert talking.out("start") == "" and talking.up() == []


def test_an_apps_containers_are_frozen_go_on_and_are_killed(talking: AppDirectory) -> None:
    states = lambda: {talking.status_of(name) for name in talking.ids()}  # noqa: E731
    assert len(talking.out("pause").split()) == 3 and states() == {"paused"}
    assert talking.out("pause") == ""  # those that are frozen are left alone
    assert len(talking.out("unpause", "web").split()) == 2
    assert talking.status_of("db-1") == "paused" and talking.status_of("web-1") == "running"
    talking.run("resume")
    assert states() == {"running"}
    assert talking.out("kill", "--signal", "SIGKILL", "db") == f"{talking.name}-db-1"
    eventually(lambda: talking.status_of("db-1") == "exited", "it is dead")
    assert talking.status_of("web-1") == "running"
    refused = talking.run("kill", "-s", "NOPE", "web", status=125).stderr
    assert "NOPE" in refused


def test_restart_begins_with_what_others_depend_on(talking: AppDirectory) -> None:
    before = {
        name: talking.engine.inspect(f"{talking.name}-{name}")["State"]["Pid"] for name in talking.ids()
    }
    names = talking.out("restart", "--timeout", "0").split()
    assert names[0] == f"{talking.name}-db-1"
    after = {name: talking.engine.inspect(f"{talking.name}-{name}")["State"]["Pid"] for name in before}
    assert not set(before.values()) & set(after.values())
    only = talking.out("restart", "--timeout", "0", "db").split()
    assert only == [f"{talking.name}-db-1"]


def test_events_of_an_app_are_shown_and_not_waited_for(talking: AppDirectory) -> None:
    shown = talking.out(
        "events", "--no-follow", "--since", "10m", "--format", "{{.Action}} {{.Name}}"
    ).splitlines()
    assert f"start {talking.name}-db-1" in shown
    assert all(line.split()[1].startswith(f"{talking.name}-") for line in shown)
    refused = talking.run("events", "--until", "nonsense", status=125).stderr
    assert "--until" in refused


# --- the files as understood ----------------------------------------------------------------------------


def test_config_prints_the_files_merged_and_with_variables(app: AppDirectory) -> None:
    app.write("TAG=1\n", ".env")
    app.write("services: {web: {image: 'small:${TAG}', environment: {A: '1'}}}")
    app.write("services: {web: {environment: {B: '2'}}, db: {image: 'small:1'}}", "compose.override.yaml")
    document = yaml.safe_load(app.out("config"))
    assert document["services"]["web"]["image"] == "small:1"
    assert document["services"]["web"]["environment"] == {"A": "1", "B": "2"}
    assert json.loads(app.out("config", "--format", "json")) == document
    assert app.out("config", "--services").split() == ["web", "db"]
    assert app.out("config", "--images") == "small:1"
    assert app.run("config", "--quiet").stdout == ""
    assert "valid" in app.out("validate")


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_config_prints_a_file_that_means_the_same(app: AppDirectory, form: str) -> None:
    app.write("services: {web: {image: 'small:1', command: 'echo $$HOME $$$$', environment: {A: 'a$$b'}}}")
    printed = app.out("config", "--format", form)
    again = app.run("--file", "-", "config", "--format", form, input=printed).stdout.strip()
    assert again == printed
    assert yaml.safe_load(printed)["services"]["web"]["command"] == "echo $$HOME $$$$"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("services:\n  web:\n    image: small:1\n    ports: [x]\n", 4, "x"),
        ("services:\n  web:\n    imgae: small:1\n", 3, "imgae"),
        ("services:\n  web: {image: 'small:1'\n", 2, ""),
        (
            "services:\n  web:\n    image: small:1\n    depends_on: [bd]\n  db: {image: 'small:1'}\n",
            4,
            "'db'",
        ),
        ("services:\n  web:\n    image: small:${TAG:?give a tag}\n", 3, "give a tag"),
        ("services:\n  web:\n    image: small:1\n    networks: [front]\n", 4, "front"),
        ("services:\n  web:\n    image: small:1\n    volumes: ['data:/data']\n", 4, "data"),
        ("services:\n  web: {}\n", 2, "image"),
    ],
)
@pytest.mark.parametrize("words", [("validate",), ("config", "--quiet"), ("up", "-d")])
def test_what_is_wrong_in_a_file_is_said_with_its_line(
    app: AppDirectory, text: str, line: int, says: str, words: tuple[str, ...]
) -> None:
    file = app.write(text)
    refused = app.run(*words, status=125).stderr
    assert f"{os.path.basename(file)}:{line}" in refused and says in refused
    assert "Traceback" not in refused and len(refused.splitlines()) <= 3
    assert app.left() == []


def test_services_in_a_circle_are_refused(app: AppDirectory) -> None:
    app.write(
        """
        services:
          a: {image: "small:1", depends_on: [b]}
          b: {image: "small:1", depends_on: [a]}
        """
    )
    for words in (("validate",), ("up", "-d"), ("config", "--quiet")):
        assert "a -> b -> a" in app.run(*words, status=125).stderr


def test_where_there_is_no_file_that_is_said(app: AppDirectory) -> None:
    refused = app.run("up", "-d", status=125).stderr
    assert "compose.yaml" in refused and "Traceback" not in refused


def test_a_port_leads_to_a_service_until_ctrl_c(app: AppDirectory) -> None:
    app.write(
        """
        services:
          web:
            image: small:1
            command: [httpd, -f, -p, "80", -h, /etc]
            stop_grace_period: 0s
        """
    )
    app.up()
    (ref,) = app.ids().values()
    forwarding = app.popen("port-forward", "web", "80", stdout=subprocess.PIPE)
    try:
        assert forwarding.stdout is not None
        address, _, target = forwarding.stdout.readline().decode().split()
        assert target == "web:80"
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1"
        eventually(lambda: answers(int(port)), "the service answers")
        forwarding.send_signal(signal.SIGTERM)
        assert forwarding.wait(20) == 0
        assert app.engine.out("port", ref) == ""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), 5)
    finally:
        forwarding.kill()
        forwarding.wait()
    assert "is no port" in app.run("port-forward", "web", "http", status=125).stderr
