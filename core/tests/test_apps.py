"""Apps in the engine: one change of each at a time, and whoever takes one down ends the change before."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from engine_box import ALICE, BOB, ROOT, Box

from multios.app_labels import APP_LABEL, SERVICE_LABEL
from multios.engine.apps import Apps, Change
from multios.engine.registry import ALIVE_CHECK_SECONDS
from multios.errors import Conflict, InvalidInput, MultiosError
from multios.testing.fakes import FakeOrchestrator


@pytest.fixture
def apps(box: Box) -> Apps:
    return box.engine.apps


def wanted() -> bool:
    """Somebody waits for it."""
    return True


def test_a_second_change_is_refused_until_the_first_is_done(apps: Apps) -> None:
    with apps.changing("shop", ALICE, wanted):
        with pytest.raises(Conflict, match="'shop' is being changed"), apps.changing("shop", ALICE, wanted):
            pass
        with apps.changing("other", ALICE, wanted), apps.changing("shop", BOB, wanted):
            pass
    with apps.changing("shop", ALICE, wanted) as change:
        change.check()


def test_a_change_that_failed_is_over(apps: Apps) -> None:
    with pytest.raises(ZeroDivisionError), apps.changing("shop", ALICE, wanted):
        raise ZeroDivisionError
    with apps.changing("shop", ALICE, wanted):
        pass


def test_taking_down_ends_the_change_and_waits_for_its_end(apps: Apps) -> None:
    order: list[str] = []
    inside = threading.Event()

    def bring_up() -> None:
        with apps.changing("shop", ALICE, wanted) as change:
            inside.set()
            while change.is_wanted():
                time.sleep(0.001)
            order.append("ended")
            with pytest.raises(Conflict, match="being taken down"):
                change.check()

    thread = threading.Thread(target=bring_up)
    thread.start()
    assert inside.wait(5)
    with apps.changing("shop", ALICE, wanted, take_down=True) as change:
        order.append("down")
        assert isinstance(change, Change) and change.is_wanted()
    thread.join(5)
    assert order == ["ended", "down"]


def test_a_change_for_which_nobody_waits_any_more_makes_way(box: Box, apps: Apps) -> None:
    endless, inside, somebody = box.started(), threading.Event(), [True]

    def bring_up() -> None:
        with apps.changing("shop", ALICE, lambda: somebody[0]) as change:
            inside.set()
            box.registry.wait(endless.id, change.is_wanted)

    thread = threading.Thread(target=bring_up)
    thread.start()
    assert inside.wait(5)
    with pytest.raises(Conflict, match="'shop' is being changed"), apps.changing("shop", ALICE, wanted):
        pass
    somebody[0], begun = False, time.monotonic()
    with apps.changing("shop", ALICE, wanted) as change:
        change.check()
    assert time.monotonic() - begun < ALIVE_CHECK_SECONDS - 1  # it was asked at once
    thread.join(5)


def test_two_that_take_down_go_one_after_the_other(apps: Apps) -> None:
    inside = 0
    done: list[bool] = []

    def take_down() -> None:
        nonlocal inside
        with apps.changing("shop", ALICE, wanted, take_down=True) as change:
            inside += 1
            assert inside == 1
            time.sleep(0.01)
            change.check()  # none ends another
            done.append(True)
            inside -= 1

    threads = [threading.Thread(target=take_down) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert len(done) == 5


def test_apps_are_what_labels_say_and_each_sees_the_own(box: Box, apps: Apps) -> None:
    def labels(app: str, service: str) -> dict[str, str]:
        return {APP_LABEL: app, SERVICE_LABEL: service}

    box.started(ALICE, labels=labels("shop", "web"))
    box.create(ALICE, labels=labels("shop", "db"))
    box.create(BOB, labels=labels("shop", "web"))
    box.create(ALICE)
    (row,) = apps.rows(ALICE)
    assert (row["name"], row["services"], row["containers"], row["running"]) == ("shop", ["db", "web"], 2, 1)
    assert row["status"] == "created (1), running (1)"
    assert [(item["name"], item["owner"]) for item in apps.rows(ROOT)] == [
        ("shop", ALICE.uid),
        ("shop", BOB.uid),
    ]
    assert apps.rows(replace(ALICE, uid=4999)) == []


@pytest.mark.parametrize("method", ["apps.plan", "apps.apply", "apps.destroy", "apps.watch"])
def test_an_orchestrator_that_works_with_its_users_own_files_is_not_made_in_the_daemon(
    box: Box, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be given those of the daemon's user: root's kubeconfig to anybody."""
    monkeypatch.setattr(FakeOrchestrator, "needs_engine", False)
    with pytest.raises(InvalidInput, match="'fake' works in the client"):
        box.call(method, ALICE, app={"name": "shop"}, name="shop", orchestrator="fake")


def test_the_name_of_an_orchestrator_becomes_no_path(box: Box) -> None:
    outside = box.engine.settings.exec_root / "escaped"
    with pytest.raises(MultiosError):
        box.call("apps.plan", ALICE, app={"name": "shop"}, orchestrator="../../escaped")
    assert not outside.exists() and not (box.engine.settings.data_root / "escaped").exists()
