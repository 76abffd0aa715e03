"""The registry: lookups with a caller's eyes, waiting, and locks that do not pile up."""

from __future__ import annotations

import threading
import time

import pytest
from engine_box import ALICE, BOB, ROOT, Box

from multios.engine import registry
from multios.errors import Conflict, NotFound
from multios.model.container import Status


def test_names_ids_and_unambiguous_prefixes_are_found(box: Box) -> None:
    first, second = box.create(name="first"), box.create(name="second")
    for ref in ("first", first.id, first.id[:20]):
        assert box.registry.find(ref, ROOT).id == first.id
    with pytest.raises(NotFound, match="no such container"):
        box.registry.find("", ROOT)
    with pytest.raises(NotFound) as caught:
        box.registry.find("frist", ROOT)
    assert "first" in caught.value.remedy
    box.containers.rename(second, first.id[:8])
    assert box.registry.find(first.id[:8], ROOT).id == second.id


def test_a_prefix_of_two_is_refused(box: Box) -> None:
    prefixes = [box.create().id[0] for _ in range(17)]
    double = next(item for item in prefixes if prefixes.count(item) > 1)
    with pytest.raises(Conflict, match="give more|begins"):
        box.registry.find(double, ROOT)


def test_suggestions_never_name_what_the_caller_may_not_see(box: Box) -> None:
    box.create(ALICE, name="secret-work")
    with pytest.raises(NotFound) as caught:
        box.registry.find("secret-wort", BOB)
    assert "secret-work'" not in caught.value.cause + caught.value.remedy


def test_no_name_of_a_user_can_stand_in_the_way_of_a_removal(box: Box) -> None:
    container = box.create()
    hidden = box.registry.hidden(container)["name"]
    with pytest.raises(Exception, match="name"):
        box.create(name=hidden)


def test_late_questions_for_a_lock_leave_nothing(box: Box) -> None:
    container = box.create()
    box.containers.delete(container, force=False)
    for _ in range(5):
        box.registry.lock(container.id)
    assert box.registry._locks == {}


def test_who_waits_hears_of_an_end_of_a_removal_and_of_his_clients_death(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "ALIVE_CHECK_SECONDS", 0.02)
    running, created, endless = box.started(), box.create(), box.started()
    told: dict[str, object] = {}

    def wait(key: str, container_id: str) -> None:
        told[key] = box.registry.wait(container_id, lambda: key != "gone").status

    threads = [
        threading.Thread(target=wait, args=pair)
        for pair in (("ended", running.id), ("removed", created.id), ("gone", endless.id))
    ]
    for thread in threads:
        thread.start()
    box.exits(running, 1)
    box.containers.delete(created, force=False)
    busy_until = time.monotonic() + 0.2
    while time.monotonic() < busy_until:  # an engine where something always happens
        box.registry.change(box.now(running))
    for thread in threads:
        thread.join(30)
    assert told == {"ended": Status.EXITED, "removed": Status.CREATED, "gone": Status.RUNNING}


def test_an_exit_can_be_asked_for_while_and_after_the_container_is_removed(box: Box) -> None:
    container = box.started()
    hidden = box.registry.hide(box.registry.change(container, status=Status.EXITED, exit_code=5))
    being_removed = box.registry.ended(container.id, ROOT)
    assert being_removed is not None
    assert box.registry.wait(being_removed.id).exit_code == 5
    box.registry.remove(hidden)
    removed = box.registry.ended(container.id, ROOT)
    assert removed is not None
    assert removed.exit_code == 5
