"""kill -9 of daemon, supervisor and client, at many moments: nothing is lost, nothing leaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaks import assert_nothing_leaked, holdings, settled
from private_engine import IMAGE, PrivateEngine, eventually

MOMENTS = [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1]
"""Seconds after a client's start: a whole run takes some 30 to 60 ms."""

COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"


@pytest.fixture(scope="module")
def killable(make_engine: object) -> PrivateEngine:
    """An engine whose processes may be killed."""
    engine: PrivateEngine = make_engine()  # type: ignore[operator]
    engine.run("run", "--rm", IMAGE, "true")
    return engine


@pytest.fixture
def own(killable: PrivateEngine) -> Iterator[PrivateEngine]:
    """The same; no container of a test is left to the next."""
    yield killable
    names = killable.out("ps", "--all", "--quiet").split()
    if names:
        killable.run("delete", "--force", *names, status=None)


def kill_daemon(engine: PrivateEngine) -> None:
    os.kill(engine.daemon_pid, signal.SIGKILL)


def kill_supervisor(engine: PrivateEngine) -> None:
    os.kill(engine.supervisor_pid, signal.SIGKILL)


KILLS = {"daemon": kill_daemon, "supervisor": kill_supervisor}


def numbers(engine: PrivateEngine, name: str) -> list[int]:
    return [int(line) for line in engine.out("logs", name).splitlines()]


@pytest.mark.parametrize("victim", KILLS)
def test_a_container_runs_on_and_its_log_has_every_line(own: PrivateEngine, victim: str) -> None:
    own.run("run", "-d", "--name", "survivor", IMAGE, "sh", "-c", COUNTER)
    try:
        pid = own.inspect("survivor")["State"]["Pid"]
        for _ in range(3):
            eventually(lambda: len(numbers(own, "survivor")) > 5, "it writes")
            KILLS[victim](own)
            count = eventually(lambda: len(numbers(own, "survivor")), "a daemon answers")
            eventually(lambda seen=count: len(numbers(own, "survivor")) > seen, "it writes on")
        record = own.inspect("survivor")["State"]
        assert (record["Pid"], record["Status"]) == (pid, "running")
        lines = numbers(own, "survivor")
        assert lines == list(range(1, len(lines) + 1))
        assert own.out("exec", "survivor", "echo", "well") == "well"
    finally:
        own.run("delete", "--force", "survivor", status=None)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_flood_is_in_the_log_whole_and_once_however_often_the_supervisor_is_killed(
    own: PrivateEngine, terminal: bool
) -> None:
    flood = "trap 'enough=yes' TERM; i=0; until [ $enough ]; do i=$((i+1)); echo $i; done"
    wanted = ["--tty"] if terminal else []
    own.run("run", "-d", "--name", "flood", "--log-opt", "max-size=1g", *wanted, IMAGE, "sh", "-c", flood)
    try:
        last = ""
        for _ in range(10):
            last = eventually(
                lambda seen=last: {own.out("logs", "--tail", "1", "flood")} - {seen}, "it is read on"
            ).pop()
            kill_supervisor(own)
        own.run("kill", "--signal", "TERM", "flood")
        assert own.out("wait", "flood") == "0"
        lines = numbers(own, "flood")
        print(f"{len(lines)} lines")
        assert lines == list(range(1, len(lines) + 1))
    finally:
        own.run("delete", "--force", "flood", status=None)


@pytest.mark.parametrize("victim", KILLS)
def test_an_exit_that_nobody_watched_is_recorded(own: PrivateEngine, victim: str) -> None:
    own.run("run", "-d", "--name", "leaver", IMAGE, "sh", "-c", "sleep 0.6; exit 23")
    try:
        KILLS[victim](own)
        time.sleep(1.0)
        assert own.out("wait", "leaver") == "23"
    finally:
        own.run("delete", "--force", "leaver", status=None)


def test_a_client_that_waits_outlives_the_daemon(own: PrivateEngine) -> None:
    client = own.popen(
        "run",
        "--rm",
        "--name",
        "patient",
        IMAGE,
        "sh",
        "-c",
        "trap 'echo end; exit 5' TERM; echo begun; while :; do sleep 0.05; done",
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None and client.stdout.readline() == b"begun\n"
    pid = own.inspect("patient")["State"]["Pid"]
    kill_daemon(own)
    os.kill(pid, signal.SIGTERM)
    out, said = client.communicate(timeout=20)
    assert (out, client.returncode) == (b"end\n", 5), said
    eventually(lambda: "patient" not in own.out("ps", "-a", "--format", "{{.Names}}"), "it was removed")


@pytest.mark.parametrize("victim", ["client", *KILLS])
@pytest.mark.parametrize("command", ["run", "exec", "start", "stop", "delete"])
def test_killed_at_any_moment_nothing_leaks(own: PrivateEngine, victim: str, command: str) -> None:
    own.run("run", "--rm", IMAGE, "true")
    before = settled(own)
    for moment in MOMENTS:
        words = {
            "run": ["run", "--rm", "--name", "loop", IMAGE, "sleep", "0.05"],
            "exec": ["exec", "loop", "true"],
            "start": ["start", "loop"],
            "stop": ["stop", "-t", "0", "loop"],
            "delete": ["delete", "--force", "loop"],
        }[command]
        if command == "start":
            own.run("create", "--name", "loop", IMAGE, "sleep", "1000")
        elif command != "run":
            own.run("run", "-d", "--name", "loop", IMAGE, "sleep", "1000")
        client = own.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moment)
        if victim == "client":
            client.kill()
        else:
            KILLS[victim](own)
        client.wait(60)
        eventually(lambda: own.run("version", status=None).returncode == 0, "a daemon answers")
        if command == "run":
            eventually(
                lambda: "loop" not in own.out("ps", "-a", "--format", "{{.Names}}").split(), "it is removed"
            )
        else:
            own.run("delete", "--force", "loop", status=0 if command in ("exec", "start", "stop") else None)
    changed = ("descriptors of the daemon", "descriptors of the supervisor") if victim != "client" else ()
    now = settled(own)
    assert_nothing_leaked(own, {**before, **{key: now[key] for key in changed}})


def lives(pid: int) -> bool:
    """Whether a process runs; one that init has yet to bury does not (proc(5), /proc/pid/stat)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_both_killed_at_once_the_next_start_puts_the_records_right(own: PrivateEngine) -> None:
    own.run("run", "-d", "--name", "orphan", IMAGE, "sleep", "1000")
    pid = own.inspect("orphan")["State"]["Pid"]
    before = settled(own)["children of the supervisor"]
    supervisor = own.supervisor_pid
    os.kill(own.daemon_pid, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: own.run("version", status=None).returncode == 0, "a daemon answers")
    state = json.loads(own.out("inspect", "orphan"))[0]["State"]
    alive = lives(pid)
    assert state["Status"] == ("running" if alive else "exited")
    own.run("delete", "--force", "orphan")
    eventually(lambda: not lives(pid), "its process ended")
    assert holdings(own)["children of the supervisor"] <= before
