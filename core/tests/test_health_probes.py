"""Which containers are probed, when, and what is written: a whole engine over fakes, with a clock that the test sets."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any

import pytest
from engine_box import Box

from multios.drivers.base import Capability
from multios.engine.event_selection import Selection
from multios.engine.health_probes import HealthProbes
from multios.engine.timers import Timers
from multios.errors import CommandNotFound, Conflict, InvalidInput, Unavailable, Unsupported
from multios.model.container import Container, RestartPolicy

CHECK = {"test": ["CMD", "check"], "interval": "10s", "timeout": "4s", "retries": 2}


class AtOnce(Executor):
    """Does everything where it is submitted."""

    def submit(self, action: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(action(*arguments, **named))
        return done


class Probed:
    """A box whose probes follow a clock; ``begun`` are the exec ids of probes under way, oldest first."""

    def __init__(self, box: Box, patch: pytest.MonkeyPatch) -> None:
        self.box, self.clock = box, time.time()
        box.engine.health_probes.close()
        box.registry._observers.clear()
        self.failure: Exception | None = None
        self.begun: list[str] = []
        self.outputs: list[int] = []
        self.killed: list[str] = []
        self.writes = 0
        patch.setattr(box.isolation, "exec", self._exec)
        patch.setattr(
            "multios.engine.probe_processes.kill",
            lambda isolation, container, exec_id, pid: self.killed.append(exec_id),
        )
        patch.setattr("multios.engine.containers.time.time", self.now)
        self.attach()

    def attach(self) -> None:
        engine = self.box.engine
        self.timers = Timers(self.now)
        self.probes = HealthProbes(
            engine.registry, engine.containers, engine.drivers, engine.exits, engine.events, self.timers, AtOnce(), self.now
        )  # fmt: skip
        engine.health_probes = self.probes

    def now(self) -> float:
        return self.clock

    def _exec(self, container_id: str, exec_id: str, process: Any, stdio: Any) -> Any:
        from multios.drivers.isolation import Launched

        if self.failure is not None:
            raise self.failure
        assert process.process["args"] == ["check"]
        self.begun.append(exec_id)
        return Launched(pid=0)

    def passes(self, seconds: float) -> None:
        """Time passes, in steps of a tenth of a second."""
        for _ in range(round(seconds * 10)):
            self.clock += 0.1
            self.timers.call_due()

    def ends(self, code: int | None, exec_id: str = "") -> None:
        """The oldest probe under way ends."""
        chosen = exec_id or self.begun[0]
        self.begun.remove(chosen)
        self.box.tell(chosen, code)
        self.box.settle()
        self.timers.call_due()

    def round(self, code: int) -> None:
        """An interval passes, and the probe that is due then ends."""
        self.passes(10.1)
        self.ends(code)

    def health(self, container: Container) -> tuple[str, int]:
        state = self.box.now(container).health
        assert state is not None
        return str(state.status), state.failing_streak

    def told(self, **filters: str) -> list[str]:
        selection = Selection({"action": "health_status", **filters})
        found = self.box.engine.events.follow(selection, False, lambda: True)
        return [event["attributes"]["health"] for event in found]


@pytest.fixture
def probed(box: Box, monkeypatch: pytest.MonkeyPatch) -> Probed:
    return Probed(box, monkeypatch)


def test_the_states_follow_the_probes_and_each_change_is_an_event(box: Box, probed: Probed) -> None:
    container = box.started(healthcheck=CHECK)
    assert probed.health(container) == ("starting", 0)
    probed.passes(9.8)
    assert not probed.begun
    for code, health in (
        (1, ("starting", 1)),
        (1, ("unhealthy", 2)),
        (0, ("healthy", 0)),
        (1, ("healthy", 1)),
    ):
        probed.round(code)
        assert probed.health(container) == health
    assert probed.told() == ["unhealthy", "healthy"]


def test_a_change_of_health_is_found_by_the_containers_labels(box: Box, probed: Probed) -> None:
    box.started(healthcheck=CHECK, labels={"course": "101"})
    probed.round(0)
    assert probed.told(label="course=101") == ["healthy"] and probed.told(label="course=102") == []


def test_a_container_without_a_check_costs_nothing(box: Box, probed: Probed) -> None:
    container = box.started()
    assert box.now(container).health is None
    assert probed.timers._heap == [] and probed.probes._runs == {}


def test_one_with_a_check_costs_one_timer(box: Box, probed: Probed) -> None:
    box.started(healthcheck=CHECK)
    assert len(probed.timers._heap) == 1


def test_what_only_adds_to_the_list_of_results_is_not_written_before_the_end(
    box: Box, probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = box.started(healthcheck=CHECK)
    probed.round(0)
    written: list[str] = []
    genuine = box.engine.database.save
    monkeypatch.setattr(box.engine.database, "save", lambda row: (written.append(row.id), genuine(row)))
    for _ in range(7):
        probed.round(0)
    assert written == []
    state = box.now(container).health
    assert state is not None and len(state.log) == 5
    probed.round(1)
    assert written == [container.id]
    probed.round(1)
    probed.round(1)
    assert len(written) == 3  # the streak is kept, too
    probed.round(0)
    probed.round(0)
    box.registry.close()
    rows = {row.id: row for row in box.engine.database.all(Container)}
    assert rows[container.id] == box.now(container)


def test_one_whose_time_is_over_is_killed_and_has_failed(box: Box, probed: Probed) -> None:
    container = box.started(healthcheck=CHECK)
    probed.passes(10.1)
    [exec_id] = probed.begun
    probed.passes(3.5)
    assert probed.killed == []
    probed.passes(0.7)
    assert probed.killed == [exec_id] and probed.health(container) == ("starting", 1)
    state = box.now(container).health
    assert state is not None and state.log[-1].exit_code == -1 and "longer than 4s" in state.log[-1].output
    probed.ends(0)  # too late
    assert probed.health(container) == ("starting", 1)
    probed.passes(10.0)
    assert len(probed.begun) == 1


def test_one_that_hangs_delays_no_other(box: Box, probed: Probed) -> None:
    hanging = [box.started(healthcheck={**CHECK, "timeout": "1h"}) for _ in range(20)]
    probed.passes(10.1)
    assert len(probed.begun) == len(hanging)
    late = box.started(healthcheck=CHECK)
    probed.passes(10.1)
    assert len(probed.begun) == len(hanging) + 1
    probed.ends(0, probed.begun[-1])
    assert probed.health(late) == ("healthy", 0)


def test_a_paused_container_is_not_probed_and_goes_on_where_it_was(box: Box, probed: Probed) -> None:
    container = box.started(healthcheck=CHECK)
    probed.round(1)
    probed.passes(10.1)
    [under_way] = probed.begun
    box.containers.pause(box.now(container))
    probed.timers.call_due()
    assert probed.killed == [under_way]
    probed.begun.clear()
    probed.passes(60)
    assert probed.begun == [] and probed.health(container) == ("starting", 1)
    box.containers.resume(box.now(container))
    probed.passes(10.1)
    assert len(probed.begun) == 1
    probed.ends(1)
    assert probed.health(container) == ("unhealthy", 2)


def test_a_stopped_container_is_not_probed_and_a_new_run_begins_anew(box: Box, probed: Probed) -> None:
    container = box.started(healthcheck=CHECK)
    probed.round(0)
    probed.passes(10.1)
    [late] = probed.begun
    box.exits(container)
    probed.ends(137, late)
    assert probed.health(container) == ("healthy", 0)  # as it was when it ended
    assert box.call("containers.list", all=True)[0]["health"] == ""
    probed.passes(30)
    assert probed.begun == []
    box.containers.start(box.now(container))
    assert probed.health(container) == ("starting", 0)
    probed.round(0)
    assert probed.health(container) == ("healthy", 0)
    box.containers.delete(box.now(container), force=True)
    probed.passes(30)
    assert probed.begun == [] and probed.probes._runs == {}


def test_a_command_that_is_not_there_has_failed_and_an_engine_in_trouble_says_nothing(
    box: Box, probed: Probed
) -> None:
    container = box.started(healthcheck=CHECK)
    probed.failure = Unavailable("the supervisor is gone")
    probed.passes(25)
    assert probed.health(container) == ("starting", 0)
    probed.failure = CommandNotFound("check: not found")
    probed.passes(5.2)
    assert probed.health(container) == ("starting", 1)
    state = box.now(container).health
    assert state is not None and (state.log[-1].exit_code, state.log[-1].output) == (127, "check: not found")
    probed.failure = None
    probed.round(0)
    assert probed.health(container) == ("healthy", 0)


def test_somebody_who_holds_a_container_delays_its_probe_and_no_other(box: Box, probed: Probed) -> None:

    held, other = box.started(healthcheck=CHECK), box.started(healthcheck=CHECK)
    lock, free, let_go = box.registry.lock(held.id), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            free.set()
            let_go.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    free.wait(10)
    probed.passes(11)
    assert [exec_id[:12] for exec_id in probed.begun] == [other.id[:12]]
    let_go.set()
    thread.join()
    probed.passes(0.3)
    assert [exec_id[:12] for exec_id in probed.begun] == [other.id[:12], held.id[:12]]


def test_the_next_daemon_goes_on_with_state_and_step(box: Box, probed: Probed) -> None:
    container = box.started(healthcheck=CHECK)
    probed.round(0)
    probed.round(1)
    probed.passes(6)
    rows = [{"id": container.id, "container_id": container.id, "pid": 1, "status": "running"}]
    leftover = {
        "id": f"{container.id[:12]}-health-1",
        "container_id": container.id,
        "pid": 2,
        "status": "running",
    }
    box.restart_daemon([*rows, leftover])
    box.engine.health_probes.close()
    box.registry._observers.clear()
    probed.attach()
    probed.probes._timers.begin = lambda: None  # type: ignore[method-assign]
    probed.probes.begin(box.engine.supervisor)
    assert leftover["id"] in probed.killed  # nobody would see its end
    assert probed.health(container) == ("healthy", 1)
    probed.passes(3.5)
    assert probed.begun == []
    probed.passes(0.7)
    probed.ends(1)
    assert probed.health(container) == ("unhealthy", 2)


# --- the door -------------------------------------------------------------------------------------------


def test_a_probe_can_be_asked_for_and_counts(
    box: Box, probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:

    container = box.started(healthcheck=CHECK)
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(box.call("containers.health", ref=container.name))
    )
    thread.start()
    box.eventually(lambda: bool(probed.begun))
    probed.ends(3)
    thread.join(10)
    assert answers == [{"exit_code": 3, "output": ""}]
    assert probed.health(container) == ("starting", 1)
    probed.passes(10.1)
    assert len(probed.begun) == 1  # as if nothing had been


def test_who_has_no_check_or_does_not_run_is_not_probed(box: Box, probed: Probed) -> None:
    with pytest.raises(Conflict, match="no health check"):
        box.call("containers.health", ref=box.started().name)
    with pytest.raises(Conflict, match="not running"):
        box.call("containers.health", ref=box.create(healthcheck=CHECK).name)


def test_a_driver_that_cannot_exec_is_told_at_the_door(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(box.isolation), "capabilities", box.isolation.capabilities - {Capability.EXEC})
    with pytest.raises(Unsupported, match="exec"):
        box.create(healthcheck=CHECK)
    box.create()


def test_ps_inspect_and_filters_know_the_health(box: Box, probed: Probed) -> None:
    container, plain = box.started(healthcheck=CHECK), box.started()
    probed.round(0)
    rows = {row["name"]: row for row in box.call("containers.list")}
    assert rows[container.name]["status_text"].endswith("(healthy)")
    assert rows[plain.name]["health"] == "" and "(" not in rows[plain.name]["status_text"]
    for health, name in (("healthy", container.name), ("none", plain.name)):
        assert [row["name"] for row in box.call("containers.list", filters={"health": health})] == [name]
    record = box.call("containers.inspect", ref=container.name)
    assert record["State"]["Health"]["Status"] == "healthy" and len(record["State"]["Health"]["Log"]) == 1
    assert record["Config"]["Healthcheck"]["Test"] == ["CMD", "check"]
    assert record["Config"]["Healthcheck"]["Interval"] == 10_000_000_000
    assert box.call("containers.inspect", ref=plain.name)["State"]["Health"] is None


# --- waiting --------------------------------------------------------------------------------------------


def test_health_is_waited_for(box: Box, probed: Probed) -> None:

    container = box.started(healthcheck=CHECK)
    answers: list[Any] = []

    def wait() -> None:
        answers.append(box.call("containers.wait", ref=container.name, condition=["healthy", "unhealthy"]))

    thread = threading.Thread(target=wait)
    thread.start()
    probed.round(1)
    thread.join(0.05)
    assert answers == []
    probed.round(0)
    thread.join(10)
    assert answers[0]["status"] == "running"


def test_what_can_never_be_is_not_waited_for(box: Box, probed: Probed) -> None:
    plain, container = box.started(), box.started(healthcheck=CHECK)
    with pytest.raises(Conflict, match="no health check"):
        box.call("containers.wait", ref=plain.name, condition="healthy")
    box.exits(container, 3)
    with pytest.raises(Conflict, match=r"has exited \(3\)"):
        box.call("containers.wait", ref=container.name, condition="healthy")
    assert box.call("containers.wait", ref=container.name, condition=["healthy", "stopped"])["exit_code"] == 3
    assert box.call("containers.wait", ref=plain.name, condition="running")["status"] == "running"
    for condition in ("helthy", ["exited", "gone"], [""]):
        with pytest.raises(InvalidInput, match="no such condition"):
            box.call("containers.wait", ref=plain.name, condition=condition)


def test_an_end_before_its_restart_is_no_end_for_who_waits_for_health(box: Box, probed: Probed) -> None:
    from multios.engine import waiting

    container = box.create(healthcheck=CHECK, restart_policy="always")
    ended = box.registry.change(container, status="exited", exit_code=1)
    assert not waiting._has_health(ended, frozenset({"healthy"}))
    stopped = box.registry.change(ended, stopped_by_user=True)
    with pytest.raises(Conflict):
        waiting._has_health(stopped, frozenset({"healthy"}))


def test_a_disk_that_is_full_ends_no_probing(
    box: Box, probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = box.started(healthcheck=CHECK)

    def full(row: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(box.engine.database, "save", full)
        probed.round(0)
        assert probed.health(container) == ("starting", 0)
    probed.round(0)
    assert probed.health(container) == ("healthy", 0)


def test_what_was_waited_for_is_what_is_answered(box: Box, probed: Probed) -> None:
    """One that has ended and come back healthy meanwhile is running, for who did not ask for its end."""
    container = box.started(healthcheck=CHECK)
    answers: list[Any] = []

    def wait() -> None:
        answers.append(box.call("containers.wait", ref=container.name, condition="healthy"))

    box.registry.change(
        box.now(container), config=replace(container.config, restart_policy=RestartPolicy("always"))
    )
    thread = threading.Thread(target=wait)
    thread.start()
    box.exits(container, 1)
    box.eventually(lambda: box.now(container).status == "running")
    probed.round(0)
    thread.join(10)
    assert answers[0]["status"] == "running"
