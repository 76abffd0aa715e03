"""A daemon that was killed between the record and the event: the next one tells what was left untold, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from engine_box import ALICE, Box

from multios.engine.events import Events
from multios.model.container import Container

Killed = Callable[[], AbstractContextManager[None]]


def told(box: Box, container: Container) -> list[tuple[str, float]]:
    return [
        (event["action"], event["time"]) for event in box.engine.events.kept() if event["id"] == container.id
    ]


def row(container: Container, status: str) -> dict[str, Any]:
    return {"id": container.id, "container_id": container.id, "pid": 1, "status": status, "exit_code": None}


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Killed:
    """While it lasts nothing is published, as if the daemon were killed before it can."""

    @contextmanager
    def silence() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Events, "publish", lambda *words, **facts: None)
            yield

    return silence


def test_beginnings_are_told_with_their_times(box: Box, killed: Killed) -> None:
    before = box.started()
    with killed():
        container = box.started(ALICE, labels={"course": "101"})
    box.restart_daemon([row(before, "running"), row(container, "running")])
    assert told(box, container) == [("create", container.created), ("start", container.started)]
    assert [action for action, _ in told(box, before)] == ["create", "start"]
    box.call("system.events", ALICE, filters={"label": "course=101"})
    assert [event["action"] for event in box.items] == ["create", "start"]
    box.restart_daemon([row(before, "running"), row(container, "running")])
    assert len(told(box, container)) == 2, "once"


def test_an_end_is_told_with_its_time_and_code(box: Box, killed: Killed) -> None:
    container = box.started()
    with killed():
        box.exits(container, 7)
    box.restart_daemon()
    assert told(box, container)[-1] == ("die", box.now(container).finished)
    assert len(told(box, container)) == 3
    *_, last = box.engine.events.kept()
    assert last["attributes"]["exit_code"] == 7


def test_an_end_that_nobody_saw_is_told(box: Box) -> None:
    container, gone = box.started(), box.started(auto_remove=True)
    box.restart_daemon()
    assert [action for action, _ in told(box, container)] == ["create", "start", "die"]
    assert [action for action, _ in told(box, gone)] == ["create", "start", "die", "delete"]
    box.restart_daemon()
    assert len(told(box, container)) == 3 and len(told(box, gone)) == 4


def test_a_deletion_is_told(box: Box, killed: Killed) -> None:
    container = box.create(ALICE, name="mine", labels={"course": "101"})
    with killed():
        box.containers.delete(container, force=False)
    box.restart_daemon()
    assert [action for action, _ in told(box, container)] == ["create", "delete"]
    *_, last = box.engine.events.kept()
    assert (last["name"], last["attributes"]) == (
        "mine",
        {"owner": ALICE.uid, "image": "fake:1", "labels": {"course": "101"}},
    )


def test_what_is_told_no_more_is_not_told_again(box: Box) -> None:
    """Events have a bound: what is older than all of them has had its event."""
    container = box.started()
    log = box.engine.events._log
    log._segment_bytes = 2000
    for _ in range(100):
        box.engine.events.publish("network", "create", "n" * 64, "net")
    assert told(box, container) == []
    box.restart_daemon([row(container, "running")])
    assert told(box, container) == []


def test_a_forced_deletion_and_a_new_name_are_told(box: Box) -> None:
    container = box.started()
    box.containers.delete(container, force=True)
    assert [action for action, _ in told(box, container)] == ["create", "start", "die", "delete"]
    other = box.started()
    box.containers.rename(other, "other")
    *_, last = box.engine.events.kept()
    assert (last["action"], last["name"], last["attributes"]["former_name"]) == (
        "rename",
        "other",
        other.name,
    )
