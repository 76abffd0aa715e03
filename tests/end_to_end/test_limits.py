"""Limits hold, and change while a container runs."""

from __future__ import annotations

import json
import time

from private_engine import IMAGE, PrivateEngine, eventually

EAT = "x=a; while :; do x=$x$x; done"


def test_a_process_that_eats_more_memory_than_allowed_is_killed(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--name", name, "--memory-limit", "32M", IMAGE, "sh", "-c", EAT, status=137)
    state = engine.inspect(name)["State"]
    assert state["ExitCode"] == 137
    assert state["OOMKilled"] is True


def test_no_more_processes_than_allowed_can_be_made(engine: PrivateEngine) -> None:
    done = engine.run(
        "run", "--rm", "--pids-limit", "10", IMAGE,
        "sh", "-c", "i=0; while [ $i -lt 30 ]; do i=$((i+1)); sleep 5 & done; wait", status=None,
    )  # fmt: skip
    assert "fork" in done.stderr


def test_a_container_gets_no_more_cpu_than_allowed(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--cpu-limit", "0.2", IMAGE, "sh", "-c", "while :; do :; done")
    time.sleep(0.5)
    row = json.loads(engine.out("stats", "--no-stream", "--format", "json", name))[0]
    assert 5 < row["cpu_percent"] < 40


def test_update_changes_the_limits_of_a_running_container(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--memory-limit", "64M", IMAGE, "sleep", "1000")

    def limit() -> int:
        return int(
            json.loads(engine.out("stats", "--no-stream", "--format", "json", name))[0]["memory_limit"]
        )

    assert limit() == 64 * 2**20
    engine.run("update", name, "--memory-limit", "128M", "--cpu-shares", "512")
    assert limit() == 128 * 2**20
    assert (
        engine.run("exec", name, "sh", "-c", "x=a; while [ ${#x} -lt 16000000 ]; do x=$x$x; done").returncode
        == 0
    )
    engine.run("restart", "-t", "0", name)
    assert limit() == 128 * 2**20


def test_stats_tell_what_is_used(engine: PrivateEngine, running: str) -> None:
    row = next(
        row
        for row in json.loads(engine.out("stats", "--no-stream", "--format", "json"))
        if row["name"] == running
    )
    assert row["memory_bytes"] > 0
    assert row["pids"] >= 1


def test_open_files_can_be_limited(engine: PrivateEngine) -> None:
    assert (
        engine.out("run", "--rm", "--ulimit", "nofile=100:200", IMAGE, "sh", "-c", "ulimit -n; ulimit -Hn")
        == "100\n200"
    )


def test_a_fork_bomb_is_held_and_deleted(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run", "-d", "--name", name, "--pids-limit", "50", IMAGE,
        "sh", "-c", "bomb() { bomb | bomb & }; bomb; sleep 1000",
    )  # fmt: skip
    time.sleep(0.5)
    engine.run("delete", "--force", name)
    eventually(lambda: name not in engine.out("ps", "-a"), "it is gone")
