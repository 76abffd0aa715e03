"""Restart policies."""

from __future__ import annotations

import os
from typing import Any

from private_engine import IMAGE, PrivateEngine, eventually


def restarts(engine: PrivateEngine, name: str) -> int:
    return int(engine.inspect(name)["RestartCount"])


def create(engine: PrivateEngine, name: str, policy: str, command: str) -> None:
    engine.run("run", "-d", "--name", name, "--restart", policy, IMAGE, "sh", "-c", command)


def ended(engine: PrivateEngine, name: str) -> Any:
    return engine.status_of(name) == "exited"


def test_no_leaves_it_exited(engine: PrivateEngine, name: str) -> None:
    create(engine, name, "no", "exit 1")
    eventually(lambda: ended(engine, name), "it ends")
    assert restarts(engine, name) == 0


def test_on_failure_tries_as_often_as_told(engine: PrivateEngine, name: str) -> None:
    create(engine, name, "on-failure:2", "exit 3")
    engine.out("wait", name)

    def given_up() -> bool:
        record = engine.inspect(name)
        return record["RestartCount"] == 2 and record["State"]["ExitCode"] == 3

    eventually(given_up, "it gives up after two")


def test_on_failure_leaves_a_success_alone(engine: PrivateEngine, name: str) -> None:
    create(engine, name, "on-failure", "exit 0")
    eventually(lambda: ended(engine, name), "it ends")
    assert restarts(engine, name) == 0


def test_always_restarts_until_it_is_stopped(engine: PrivateEngine, name: str) -> None:
    create(engine, name, "always", "sleep 0.1")
    eventually(lambda: restarts(engine, name) >= 2, "it comes back")
    engine.run("stop", "-t", "0", name)
    assert ended(engine, name)
    count = restarts(engine, name)
    engine.run("ps")
    assert restarts(engine, name) == count
    engine.run("delete", name)


def test_a_restarting_container_can_be_deleted(engine: PrivateEngine, name: str) -> None:
    create(engine, name, "always", "exit 1")
    eventually(lambda: restarts(engine, name) >= 1, "it comes back")
    engine.run("delete", "--force", name)
    engine.run("inspect", name, status=125)


def test_update_changes_the_policy(engine: PrivateEngine, name: str) -> None:
    create(engine, name, "no", "sleep 1000")
    engine.run("update", "--restart", "always", name)
    first = engine.inspect(name)["State"]["Pid"]
    os.kill(first, 9)
    eventually(lambda: engine.inspect(name)["State"]["Pid"] not in (0, first), "it came back")
