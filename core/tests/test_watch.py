"""Limits that were met: events once and in time, readings to compare with, what is kept of a run."""

from __future__ import annotations

from typing import Any

import pytest
from engine_box import Box

from multios.drivers.isolation import ProcessState
from multios.engine import watch as watch_module
from multios.engine.watch import TELL_SECONDS, Watch
from multios.errors import NotFound
from multios.model.container import Container, Counters


class Clock:
    def __init__(self, start: float) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(box: Box) -> Clock:
    return Clock(0.0)


@pytest.fixture
def watch(box: Box, clock: Clock) -> Watch:
    """One that polls when it is told; it began before every container."""
    box.engine.watch.close()
    made = Watch(box.registry, box.engine.drivers, box.engine.events, clock)
    box.engine.exits._watch = made
    return made


def events(box: Box, *actions: str) -> list[tuple[str, dict[str, Any]]]:
    found = box.engine.events.kept()
    wanted = actions or ("oom", "throttled", "pids_limit")
    return [
        (
            event["action"],
            {key: value for key, value in event["attributes"].items() if key not in ("owner", "image")},
        )
        for event in found
        if event["action"] in wanted
    ]


def counts(box: Box, container: Container, **counters: int) -> None:
    box.isolation.counted[container.id] = Counters(**counters)


def test_each_limit_that_was_met_is_an_event(box: Box, watch: Watch) -> None:
    container = box.started()
    counts(
        box, container, oom_kills=1, throttled_periods=7, throttled_nanoseconds=1_500_000_000, pids_refused=3
    )
    watch.poll()
    assert events(box) == [
        ("oom", {"kills": 1}),
        ("throttled", {"periods": 7, "seconds": 1.5}),
        ("pids_limit", {"refused": 3}),
    ]
    watch.poll()
    assert len(events(box)) == 3


def test_memory_that_could_be_freed_is_no_event(box: Box, watch: Watch) -> None:
    counts(box, box.started(), memory_limit_hits=9)
    watch.poll()
    assert events(box) == []


def test_events_of_a_kind_are_a_minute_apart_and_lose_nothing(box: Box, watch: Watch, clock: Clock) -> None:
    container = box.started()
    clock.now = container.started + 1
    for number in range(1, 20):
        counts(box, container, oom_kills=number)
        watch.poll()
        clock.now += TELL_SECONDS / 10
    assert [attributes["kills"] for _, attributes in events(box)] == [1, 10]


def test_the_rest_is_told_at_the_end_and_kept(box: Box, watch: Watch, clock: Clock) -> None:
    container = box.started()
    counts(box, container, pids_refused=1)
    watch.poll()
    last = Counters(pids_refused=5, oom_kills=2)
    box.isolation._states[container.id] = ProcessState("stopped", 0, 137, 4e9, True, last)
    box.tell(container.id, 137, 4e9)
    box.settle()
    assert events(box, "oom", "pids_limit", "die")[1:] == [
        ("oom", {"kills": 2}),
        ("pids_limit", {"refused": 4}),
        ("die", {"exit_code": 137}),
    ]
    shown = box.call("containers.inspect", ref=container.name)["State"]
    assert shown["OOMKilled"] and shown["Limits"]["PidsRefused"] == 5


def test_another_run_begins_anew(box: Box, watch: Watch) -> None:
    container = box.started()
    counts(box, container, oom_kills=4)
    watch.poll()
    box.exits(container)
    box.isolation.delete(container.id)
    box.engine.containers.start(box.now(container))
    counts(box, container, oom_kills=1)
    watch.poll()
    assert [attributes["kills"] for _, attributes in events(box)] == [4, 1]


def test_what_was_met_before_this_daemon_came_is_not_told_again(box: Box, watch: Watch, clock: Clock) -> None:
    container = box.started()
    clock.now = container.started + 10
    later = Watch(box.registry, box.engine.drivers, box.engine.events, clock)
    counts(box, container, oom_kills=4)
    later.poll()
    counts(box, container, oom_kills=5)
    later.poll()
    assert events(box) == [("oom", {"kills": 1})]


def test_a_container_that_cannot_be_read_hides_no_other(
    box: Box, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = box.started(), box.started()
    counts(box, whole, oom_kills=1)
    plain = box.isolation.counters

    def counters(container_id: str) -> Counters:
        if container_id == broken.id:
            raise NotFound("it has ended")
        return plain(container_id)

    monkeypatch.setattr(box.isolation, "counters", counters)
    watch.poll()
    assert len(events(box)) == 1


def test_a_percentage_is_of_the_last_poll_that_is_old_enough(box: Box, watch: Watch, clock: Clock) -> None:
    container = box.started()
    assert watch.earlier(container) == (container.started, 0)
    clock.now = container.started + 5
    counts(box, container, cpu_nanoseconds=100)
    watch.poll()
    assert watch.earlier(container) == (container.started, 0)  # it was only now
    clock.now += 5
    assert watch.earlier(container) == (container.started + 5, 100)
    counts(box, container, cpu_nanoseconds=900)
    watch.poll()
    clock.now += 0.1
    assert watch.earlier(container) == (container.started + 5, 100)
    clock.now += 1
    assert watch.earlier(container) == (container.started + 10, 900)


def test_what_has_ended_is_forgotten(box: Box, watch: Watch) -> None:
    container = box.started()
    counts(box, container, oom_kills=1)
    watch.poll()
    assert watch._seen
    box.exits(container)
    assert not watch._seen


def test_the_thread_polls_and_ends(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "POLL_SECONDS", 0.01)
    container = box.started()
    made = Watch(box.registry, box.engine.drivers, box.engine.events, lambda: 0.0)
    counts(box, container, oom_kills=1)
    made.begin()
    box.eventually(lambda: bool(events(box, "oom")))
    made.close()
    assert not made._thread.is_alive()
