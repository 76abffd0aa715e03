"""Ends: exits told late, twice or while nobody listened; restart policies; what a new daemon finds."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from engine_box import ROOT, Box

from multios.drivers.isolation import ProcessState
from multios.engine import exits
from multios.errors import Conflict, NotFound, Unavailable
from multios.model.container import Status


def row(container_id: str, status: str) -> dict[str, Any]:
    return {"id": container_id, "container_id": container_id, "pid": 7, "status": status}


def test_an_exit_is_recorded_and_its_record_dropped(box: Box) -> None:
    container = box.started()
    box.exits(container, 3)
    assert (box.now(container).status, box.now(container).exit_code) == (Status.EXITED, 3)
    assert box.supervisor.forgotten == [container.id]
    box.check_agreement()


def test_the_exit_of_an_earlier_run_does_not_end_this_one(box: Box) -> None:
    container = box.started()
    box.tell(container.id, 1, time.time() - 60)
    box.settle()
    assert box.now(container).status == Status.RUNNING


def test_an_earlier_runs_exit_does_not_stand_for_a_later_one_that_has_ended_too(box: Box) -> None:
    container = box.started()
    box.isolation._states[container.id] = ProcessState("stopped", 0, 42, time.time())
    box.tell(container.id, 1, time.time() - 60)
    box.settle()
    assert box.now(container).exit_code == 42


def test_a_container_ends_even_where_driver_and_supervisor_know_nothing_of_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = box.started()
    box.isolation._states.pop(container.id)

    def gone(process_id: str) -> None:
        raise Unavailable("the supervisor is gone")

    monkeypatch.setattr(box.supervisor, "forget", gone)
    box.exits(container, 3)
    assert box.now(container).status == Status.EXITED
    box.check_agreement()


def test_with_auto_remove_the_name_is_free_when_its_waiter_is_told(box: Box) -> None:
    container = box.started(name="once", auto_remove=True)
    told: list[Any] = []

    def wait() -> None:
        told.append(box.registry.wait(container.id))
        box.create(name="once")

    waiter = threading.Thread(target=wait)
    waiter.start()
    box.exits(container, 5)
    waiter.join(30)
    assert told[0].exit_code == 5
    box.settle()
    box.check_agreement()
    assert [item.name for item in box.registry.all()] == ["once"]


def test_a_waiter_learns_of_a_run_that_has_been_followed_by_another(box: Box) -> None:
    container = box.started()
    told: list[Any] = []
    waiter = threading.Thread(target=lambda: told.append(box.registry.wait(container.id)))
    waiter.start()
    box.eventually(lambda: bool(box.registry._changed._waiters))  # its thread may be slow to begin
    with box.registry._changed:  # no waiter can look in between
        box.registry.change(container, status=Status.EXITED, exit_code=9)
        box.registry.change(box.now(container), status=Status.RUNNING, exit_code=None, started=time.time())
    waiter.join(30)
    assert told[0].exit_code == 9
    box.registry.change(container)


def test_exits_of_detached_processes_are_not_kept_for_ever(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "EXEC_EXITS_KEPT", 3)
    for number in range(10):
        box.tell(f"abc-{number}", number)
    box.tell("f" * 64, 1)  # of a container that has been deleted
    box.settle()
    assert list(box.engine.exits._executed) == ["abc-7", "abc-8", "abc-9"]
    assert box.engine.exits.wait_for_exec("abc-9", lambda: True) == 9
    assert len(box.supervisor.forgotten) == 11


def test_the_end_of_a_process_is_told_once_whether_it_was_sooner_or_later(box: Box) -> None:
    told: list[tuple[str, int | None]] = []
    box.tell("early", 3)
    for name in ("early", "late", "unwanted"):
        box.engine.exits.when_exec_ends(name, lambda code, name=name: told.append((name, code)))  # type: ignore[misc]
    box.engine.exits.not_awaited("unwanted")
    for name in ("late", "late", "unwanted"):
        box.tell(name, None)
    assert told == [("early", 3), ("late", None)]


def test_who_waits_for_a_process_and_goes_away_is_not_waited_for(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "ALIVE_CHECK_SECONDS", 0.01)
    assert box.engine.exits.wait_for_exec("abc-0", lambda: False) is None


# --- restart policies ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "FIRST_DELAY", 0.005)


def starts(box: Box, container: Any) -> int:
    return sum(call == ("start", container.id) for call in box.isolation.calls)


def test_on_failure_restarts_as_often_as_it_says_and_a_users_start_counts_anew(box: Box) -> None:
    container = box.started(restart_policy="on-failure:2")
    for count in (2, 3):
        box.exits(container, 1)
        box.eventually(lambda count=count: starts(box, container) == count)  # type: ignore[misc]
        box.eventually(lambda: box.now(container).status == Status.RUNNING)
    box.exits(container, 1)
    time.sleep(0.1)
    assert starts(box, container) == 3
    assert box.now(container).restart_count == 2
    box.containers.start(container)
    assert box.now(container).restart_count == 0


def test_success_is_no_failure(box: Box) -> None:
    container = box.started(restart_policy="on-failure")
    box.exits(container, 0)
    time.sleep(0.05)
    assert box.now(container).status == Status.EXITED


def test_stop_and_delete_win_over_a_restart_that_waits(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "FIRST_DELAY", 3600)
    stopped, deleted = box.started(restart_policy="always"), box.started(restart_policy="always")
    box.exits(stopped, 1)
    box.exits(deleted, 1)
    waiting = dict(box.engine.exits._restarts)
    assert set(waiting) == {stopped.id, deleted.id}
    box.containers.stop(stopped)
    box.containers.delete(deleted, force=False)
    for timer in waiting.values():
        timer.function(*timer.args)  # their hour has come
    box.settle()
    assert starts(box, stopped) == starts(box, deleted) == 1
    assert box.now(stopped).status == Status.EXITED
    box.check_agreement()


def test_a_restart_that_fails_is_tried_again(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started(restart_policy="always")
    genuine, failures = box.isolation.create, [OSError("short of memory"), Conflict("busy")]

    def create(bundle: Any) -> Any:
        if failures:
            raise failures.pop()
        return genuine(bundle)

    monkeypatch.setattr(box.isolation, "create", create)
    box.exits(container, 1)
    box.eventually(lambda: box.now(container).status == Status.RUNNING)
    assert box.now(container).restart_count == 3
    box.check_agreement()


def test_no_restart_begins_once_the_daemon_closes(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "FIRST_DELAY", 3600)
    container = box.started(restart_policy="always")
    box.exits(container, 1)
    (timer,) = box.engine.exits._restarts.values()
    box.engine.exits.close()
    assert timer.finished.is_set()
    timer.function(*timer.args)  # as if its hour had come in the moment of the end
    box.tell(container.id, 1)
    assert starts(box, container) == 1


def test_a_plugin_hears_of_a_restart_outside_every_lock(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container, free = box.started(restart_policy="always"), []

    def heard(event: dict[str, Any]) -> None:
        def take() -> None:
            lock = box.registry.lock(container.id)
            free.append(lock.acquire(timeout=10))
            lock.release()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()

    monkeypatch.setattr(box.engine.events, "_broadcast", heard)
    box.exits(container, 1, wait=False)
    box.eventually(lambda: len(free) >= 2, 30)
    assert all(free)


# --- what a new daemon finds --------------------------------------------------------------------------------


def test_a_container_that_runs_goes_on_and_its_ports_are_published_again(box: Box) -> None:
    container = box.started(networking={"ports": [{"container": 80, "host": 18501}]})
    published = set(box.network.published)
    box.restart_daemon([row(container.id, "running")], flush=True)
    assert box.now(container).status == Status.RUNNING
    assert box.network.published == published and published
    assert ("create_network", box.engine.networks.find("default", ROOT).id) in box.network.calls
    box.exits(container)
    assert box.network.published == set()


def test_a_container_that_ended_unseen_is_unknown_and_holds_nothing(box: Box) -> None:
    container = box.started()
    box.restart_daemon()
    assert box.now(container).exit_code is None
    assert "not known" in box.now(container).error
    box.check_agreement()


def test_one_with_auto_remove_that_ended_unseen_is_gone(box: Box) -> None:
    box.started(auto_remove=True)
    box.restart_daemon()
    assert box.holdings()["rows"] == []
    box.check_agreement()


def test_one_whose_exit_is_recorded_waits_to_be_told_of_it(box: Box) -> None:
    container = box.started()
    box.restart_daemon([row(container.id, "stopped")])
    assert box.now(container).status == Status.RUNNING
    box.exits(container, 4)
    assert box.now(container).exit_code == 4
    box.check_agreement()


def test_one_that_was_only_being_started_is_cleaned_up(box: Box) -> None:
    container = box.started()
    box.restart_daemon([row(container.id, "created")])
    assert box.now(container).status == Status.EXITED
    box.check_agreement()


def test_half_removed_and_half_made_ones_are_cleaned_up(box: Box) -> None:
    hidden, kept = box.create(), box.create()
    box.registry.hide(hidden)
    box.engine.database.take_id_range("e" * 64, 0x70000000, 65536, 100)
    box.storage.prepare("e" * 64, "chain")
    (box.settings.data_root / "containers" / ("e" * 64)).mkdir()
    box.restart_daemon()
    assert box.holdings()["rows"] == [kept.id]
    box.check_agreement()


def test_builds_of_a_daemon_that_died_are_cleaned_up(box: Box) -> None:
    box.started(name="build-python-1234", labels={"org.multios.build": "python"})
    mine = box.create(labels={"org.multios.build": "mine"})
    box.restart_daemon()
    assert box.holdings()["rows"] == [mine.id]


def test_a_process_of_no_container_is_ended(box: Box) -> None:
    box.restart_daemon([row("d" * 64, "running"), row("c" * 64, "stopped")])
    assert box.supervisor.signals == [("d" * 64, 9)]
    assert box.supervisor.forgotten == ["c" * 64]


def test_what_a_policy_wants_running_is_started_after_a_reboot(box: Box) -> None:
    wanted, never = box.started(restart_policy="always"), box.started()
    box.restart_daemon()
    box.eventually(lambda: box.now(wanted).status == Status.RUNNING)
    assert box.now(never).status == Status.EXITED


def test_a_restart_that_a_daemons_end_cut_off_is_caught_up(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started(restart_policy="unless-stopped")
    monkeypatch.setattr(exits, "FIRST_DELAY", 60)
    box.exits(container, 1)
    monkeypatch.setattr(exits, "FIRST_DELAY", 0.005)
    box.restart_daemon()
    box.eventually(lambda: box.now(container).status == Status.RUNNING)


def test_one_that_its_user_stopped_stays_stopped(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started(restart_policy="always")
    monkeypatch.setattr(exits, "FIRST_DELAY", 60)
    box.exits(container, 1)
    monkeypatch.setattr(exits, "FIRST_DELAY", 0.005)
    box.containers.stop(container)
    box.restart_daemon()
    time.sleep(0.05)
    assert box.now(container).status == Status.EXITED


def test_waiting_for_what_never_was_is_refused(box: Box) -> None:
    with pytest.raises(NotFound):
        box.registry.wait("0" * 64)
