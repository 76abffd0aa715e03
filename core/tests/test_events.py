"""Events: kept in order, filtered, followed until nobody listens, and told to plugins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multios.app_labels import APP_LABEL, FINGERPRINT_LABEL
from multios.engine.event_log import EventLog
from multios.engine.event_selection import Selection
from multios.engine.events import LARGEST_LABELS, Events, Leaving
from multios.errors import InvalidInput
from multios.model.container import Container
from multios.model.container_document import parse


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    made = Events(EventLog(tmp_path / "events"), lambda event: None)
    for number in range(3):
        made.publish("container", "start" if number else "create", f"id{number}", f"name{number}")
    yield made
    made.close()


def names(events: Events, since: float = 0, until: float = 0, after: int = 0, **filters: Any) -> list[str]:
    selection = Selection(filters, since, until, after)
    return [event["name"] for event in events.follow(selection, False, lambda: True)]


def test_filters_take_one_value_or_several_and_ids_by_prefix(events: Events) -> None:
    assert names(events, action="start") == ["name1", "name2"]
    assert names(events, event=["create"], type="container") == ["name0"]
    assert names(events, id="id") == ["name0", "name1", "name2"]
    assert names(events, container=["name2", 7, None]) == ["name2"]
    assert names(events, container="id1") == ["name1"]
    assert names(events, container="") == []
    events.publish("network", "create", "id7", "name1")
    assert names(events, container="name1") == ["name1"], "no network"
    assert names(events, name="name1") == ["name1", "name1"]


def test_containers_are_found_by_label_and_image(events: Events) -> None:
    config = parse({"name": "box", "image": "debian:12", "labels": {"course": "101"}})
    container = Container("c" * 64, "removing:c", 7, config, "", {}, 0.0)
    events.of_container("die", container, exit_code=3)
    for filters in (
        {"label": "course"},
        {"label": ["x", "course=101"]},
        {"image": "debian:12"},
        {"image": "debian"},
    ):
        assert names(events, **filters) == ["box"]
    for filters in ({"label": "course=102"}, {"label": "cours"}, {"image": "deb"}):
        assert names(events, **filters) == []
    *_, event = events.kept()
    assert event["attributes"] == {
        "owner": 7,
        "image": "debian:12",
        "labels": {"course": "101"},
        "exit_code": 3,
    }


def test_labels_that_would_fill_the_log_are_left_out(events: Events) -> None:
    config = parse({"name": "box", "image": "debian:12", "labels": {"l": "x" * LARGEST_LABELS}})
    events.of_container("die", Container("c" * 64, "box", 7, config, "", {}, 0.0))
    *_, event = events.kept()
    assert "labels" not in event["attributes"]


def test_the_long_fingerprint_of_an_apps_container_is_left_out_and_its_other_labels_are_told(
    events: Events,
) -> None:
    labels = {FINGERPRINT_LABEL: "x" * LARGEST_LABELS, "course": "101"}
    config = parse({"name": "box", "image": "debian:12", "labels": labels})
    events.of_container("die", Container("c" * 64, "box", 7, config, "", {}, 0.0))
    *_, event = events.kept()
    assert event["attributes"]["labels"] == {"course": "101"}


def test_the_events_of_an_app_are_found_however_much_its_services_are_made_of(events: Events) -> None:
    labels = {APP_LABEL: "shop", FINGERPRINT_LABEL: "x" * LARGEST_LABELS}
    config = parse({"name": "shop-web-1", "image": "debian:12", "labels": labels})
    events.of_container("die", Container("c" * 64, "box", 7, config, "", {}, 0.0))
    *_, event = events.kept()
    assert event["attributes"]["labels"] == {APP_LABEL: "shop"}


def test_an_unknown_filter_is_named() -> None:
    with pytest.raises(InvalidInput, match="colour"):
        Selection({"colour": "red"})
    with pytest.raises(InvalidInput) as refused:
        Selection({"lable": "red"})
    assert "'label'" in refused.value.remedy


def test_times_and_numbers_choose(events: Events) -> None:
    events.publish("container", "die", "id3", "early", at=50.0)
    assert names(events, until=50.0) == ["early"]
    assert names(events, since=51.0) == ["name0", "name1", "name2"]
    assert names(events, after=2) == ["name2", "early"]
    assert names(events, after=99) == []


def test_followers_get_what_comes_and_are_told_when_the_engine_leaves(tmp_path: Path) -> None:
    events, heard = Events(EventLog(tmp_path / "events"), lambda event: None), []

    def follow() -> None:
        try:
            for event in events.follow(Selection({"action": "die"}), True, lambda: True):
                heard.append(event["name"])
        except Leaving:
            heard.append("left")

    thread = threading.Thread(target=follow)
    thread.start()
    events.publish("container", "die", "id9", "name9")
    events.close()
    thread.join(30)
    assert heard == ["name9", "left"]


def test_until_ends_a_follower_without_a_word(events: Events) -> None:
    began = time.monotonic()
    selection = Selection({}, until=time.time() + 0.3)
    assert len(list(events.follow(selection, True, lambda: True))) == 3
    assert 0.25 < time.monotonic() - began < 30


def test_who_has_gone_is_not_served_on_even_if_something_always_happens(events: Events) -> None:
    assert list(events.follow(Selection({"action": "none"}), True, lambda: False)) == []


def test_plugins_are_told_in_order_by_a_thread_and_of_all_before_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def slow(event: dict[str, Any]) -> None:
        time.sleep(0.001)
        told.append((event["sequence"], threading.get_ident()))

    events = Events(EventLog(tmp_path / "events"), slow)
    for number in range(50):
        events.publish("container", "start", str(number), "name")
    events.close()
    assert [sequence for sequence, _ in told] == list(range(1, 51))
    assert threading.get_ident() not in {thread for _, thread in told}


def test_many_followers_and_publishers_agree(tmp_path: Path) -> None:
    events = Events(EventLog(tmp_path / "events", segment_bytes=2000, segments=100), lambda event: None)
    heard: list[list[int]] = [[] for _ in range(4)]

    def follow(into: list[int]) -> None:
        for event in events.follow(Selection(), True, lambda: True):
            into.append(event["sequence"])
            if len(into) == 400:
                return

    def publish() -> None:
        for number in range(100):
            events.publish("container", "start", str(number), "name")

    threads = [threading.Thread(target=follow, args=(into,)) for into in heard]
    threads += [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    events.close()
    assert heard == [list(range(1, 401))] * 4
