"""The life of a container over fake drivers: what each step leaves when another fails, and who may do what when."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from engine_box import ROOT, Box
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multios.errors import Conflict, MultiosError, NotFound, PluginError, StepFailed, Unsupported
from multios.model.container import Resources, Status

PORTS = {"ports": [{"container": 80, "host": 18500}]}
CREATE_FAULTS = ("hooks.prepare_rootfs", "database.save", "database.take_id_range", "registry.add")
START_FAULTS = (
    "networks.ensure",
    "networks.reserve",
    "database.add_endpoint",
    "hooks.apply_security",
    "hooks.amend_spec",
    "hooks.create_container",
    "hooks.attach_network",
    "hooks.start_container",
    "registry.change",
    "database.save",
)
DRIVER_FAULTS = (("isolation", "create"), ("isolation", "start"), ("network", "add"), ("network", "publish"))


def fail_once(owner: Any, name: str, after: bool, patch: pytest.MonkeyPatch) -> None:
    """The next call of a method raises, before or after its work."""
    genuine, told = getattr(owner, name), []

    def failing(*words: Any, **keywords: Any) -> Any:
        if told:
            return genuine(*words, **keywords)
        told.append(True)
        if after:
            genuine(*words, **keywords)
        raise OSError(28, "No space left on device")

    patch.setattr(owner, name, failing, raising=True)


def owner_of(box: Box, place: str) -> tuple[Any, str]:
    part, name = place.split(".")
    return getattr(box.engine, part), name


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("place", CREATE_FAULTS)
def test_a_create_that_fails_at_any_step_leaves_nothing(
    box: Box, place: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.create(name="other")
    before = box.holdings()
    with monkeypatch.context() as patch:
        fail_once(*owner_of(box, place), after, patch)
        with pytest.raises(MultiosError, match="No space left"):
            box.create(name="broken")
    assert box.holdings() == before
    box.create(name="broken")
    box.check_agreement()


@pytest.mark.parametrize(
    ("place", "after"),
    [
        (place, after)
        for place in START_FAULTS
        for after in (False, True)
        # Callers of these two see them done or not at all.
        if not (after and place in ("networks.reserve", "database.add_endpoint"))
    ],
)
def test_a_start_that_fails_at_any_step_leaves_a_container_as_it_was(
    box: Box, place: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = box.create(networking=PORTS)
    before = box.holdings()
    with monkeypatch.context() as patch:
        fail_once(*owner_of(box, place), after, patch)
        with pytest.raises((MultiosError, OSError), match="No space left"):
            box.containers.start(container)
    assert box.holdings() == before
    assert box.now(container) == container
    box.containers.start(container)
    box.check_agreement()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("part", "verb"), DRIVER_FAULTS)
def test_a_driver_that_fails_leaves_nothing_of_a_start(
    box: Box, part: str, verb: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = box.create(networking=PORTS)
    before = box.holdings()
    with monkeypatch.context() as patch:
        fail_once(getattr(box, part), verb, after, patch)
        with pytest.raises(StepFailed, match="No space left"):
            box.containers.start(container)
    assert box.holdings() == before
    box.containers.start(container)
    box.check_agreement()


def test_cleaning_up_goes_on_where_one_driver_fails(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started(networking=PORTS)
    with monkeypatch.context() as patch:
        fail_once(box.isolation, "delete", True, patch)
        fail_once(box.network, "unpublish", True, patch)
        fail_once(box.network, "delete", True, patch)
        box.exits(container)
    assert box.now(container).status == Status.EXITED
    box.check_agreement()


def test_a_host_port_is_given_to_one_of_two_starts_at_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = box.create(networking=PORTS), box.create(networking=PORTS)
    genuine, met = box.network.publish, threading.Event()

    def slow(*words: Any) -> None:
        met.wait(1)
        genuine(*words)

    monkeypatch.setattr(box.network, "publish", slow)
    first = threading.Thread(target=box.containers.start, args=(one,))
    first.start()
    box.eventually(lambda: one.id in box.containers.attachments.host_ports.chosen)
    with pytest.raises(Conflict, match="18500/tcp is in use"):
        box.containers.start(other)
    met.set()
    first.join()
    box.check_agreement()


def test_a_port_is_free_again_after_its_container_has_ended(box: Box) -> None:
    box.exits(box.started(networking=PORTS))
    box.started(networking=PORTS)
    box.check_agreement()


def test_a_running_container_is_deleted_only_by_force(box: Box) -> None:
    container = box.started()
    with pytest.raises(Conflict, match="running"):
        box.containers.delete(container, force=False)
    box.containers.delete(container, force=True)
    box.check_agreement()
    with pytest.raises(NotFound):
        box.containers.start(container)


def test_delete_by_force_works_where_the_driver_has_lost_the_container(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = box.started()
    box.isolation._states.pop(container.id)
    box.containers.delete(container, force=True)
    box.check_agreement()


def test_delete_names_a_driver_that_is_not_there_and_removes_nothing(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = box.create()

    def missing(container: Any) -> Any:
        raise PluginError("storage driver 'gone' is not installed", "pip install it")

    with monkeypatch.context() as patch:
        patch.setattr(box.engine.drivers, "storage", missing)
        with pytest.raises(PluginError, match="not installed"):
            box.containers.delete(container, force=True)
    box.check_agreement()


def test_the_name_of_a_deleted_container_is_free_at_once(box: Box) -> None:
    for _ in range(3):
        box.containers.delete(box.started(name="again"), force=True)
    assert box.registry.all() == []


def test_a_signal_never_brings_an_ended_container_back(box: Box) -> None:
    container = box.started()
    box.exits(container)
    with pytest.raises(Conflict, match="not running"):
        box.containers.kill(container, 9)
    assert box.now(container).status == Status.EXITED


def test_killing_a_paused_container_lets_it_die(box: Box) -> None:
    container = box.started()
    box.containers.pause(container)
    box.containers.kill(container, 9)
    assert [verb for verb, _ in box.isolation.calls[-2:]] == ["resume", "kill"]


def test_stop_does_not_kill_the_next_run(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started()
    monkeypatch.setattr(box.isolation, "kill", lambda *words, **keywords: killed.append(words))
    killed: list[Any] = []
    stopping = threading.Thread(target=box.containers.stop, args=(container, 60))
    stopping.start()
    box.eventually(lambda: len(killed) == 1)
    with box.registry.lock(container.id):
        box.exits(container, wait=False)
        box.eventually(lambda: box.engine.exits._workers._work_queue.empty())
    box.eventually(lambda: box.now(container).status == Status.EXITED)
    box.containers.start(container)
    stopping.join(30)
    assert not stopping.is_alive(), "it has learned of the end, and waits for no other run's"
    assert len(killed) == 1
    assert box.now(container).status == Status.RUNNING


def test_a_pause_that_cannot_be_recorded_is_undone(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started()
    with monkeypatch.context() as patch:
        fail_once(box.engine.database, "save", False, patch)
        with pytest.raises(OSError):
            box.containers.pause(container)
    box.check_agreement()


def test_a_driver_without_a_capability_is_named(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started()
    monkeypatch.setattr(type(box.isolation), "capabilities", frozenset())
    with pytest.raises(Unsupported, match="fake"):
        box.containers.pause(container)
    with pytest.raises(Unsupported):
        box.containers.update(container, Resources(pids_limit=5), None)


def test_a_container_without_any_command_is_refused_at_its_start(box: Box) -> None:
    container = box.create(entrypoint=[])
    with pytest.raises(MultiosError, match="no command"):
        box.containers.start(container)
    box.check_agreement()


def test_a_name_is_given_to_one_of_many_creates_at_once(box: Box) -> None:
    refused: list[MultiosError] = []

    def create() -> None:
        try:
            box.create(name="same")
        except MultiosError as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5 and all(isinstance(error, Conflict) for error in refused)
    box.check_agreement()


VERBS = (
    "create",
    "rm",
    "start",
    "start",
    "stop",
    "kill",
    "pause",
    "resume",
    "delete",
    "force",
    "exit",
    "late",
    "rename",
)


def _operations(box: Box) -> dict[str, Callable[[Any], Any]]:
    containers = box.containers
    return {
        "start": containers.start,
        "stop": lambda item: containers.stop(item, 0),
        "kill": lambda item: containers.kill(item, 15),
        "pause": containers.pause,
        "resume": containers.resume,
        "delete": lambda item: containers.delete(item, force=False),
        "force": lambda item: containers.delete(item, force=True),
        "exit": lambda item: box.exits(item, 3),
        "late": lambda item: box.tell(item.id, 7, 1.0),
        "rename": lambda item: containers.rename(item, item.name + "x"),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 2)), max_size=14))
def test_no_sequence_of_operations_makes_records_and_drivers_disagree(
    box: Box, steps: list[tuple[str, int]]
) -> None:
    genuine = type(box.isolation).kill

    def kill(container_id: str, signal: int, everything: bool = False) -> None:
        genuine(box.isolation, container_id, signal, everything)
        box.tell(container_id, 128 + signal)

    box.isolation.kill = kill  # type: ignore[method-assign]
    operations = _operations(box)
    try:
        for verb, number in steps:
            alive = box.registry.all()
            try:
                if verb in ("create", "rm"):
                    box.create(auto_remove=verb == "rm", networking={"ports": [{"container": 80}]})
                elif alive:
                    operations[verb](alive[number % len(alive)])
            except MultiosError:
                pass
            box.settle()
            box.check_agreement()
    finally:
        for container in box.registry.all():
            box.containers.delete(container, force=True)
        box.settle()
        box.check_agreement()


def test_the_caller_is_asked_before_anything_is_made(box: Box) -> None:
    before = box.holdings()
    with pytest.raises(NotFound, match="no such network"):
        box.create(ROOT, networking={"network": "absent"})
    assert box.holdings() == before
