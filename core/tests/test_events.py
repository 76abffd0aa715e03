"""Events: kept in order, filtered, followed until nobody listens."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from multios.engine.events import Events
from multios.errors import InvalidInput


def made() -> Events:
    events = Events(lambda event: None)
    for number in range(3):
        events.publish("container", "start" if number else "create", f"id{number}", f"name{number}")
    return events


def names(events: Events, **filters: Any) -> list[str]:
    return [event["name"] for event in events.follow(0, filters, False, lambda: True)]


def test_filters_take_one_value_or_several_and_ids_by_prefix() -> None:
    events = made()
    assert names(events, action="start") == ["name1", "name2"]
    assert names(events, event=["create"], type="container") == ["name0"]
    assert names(events, id="id") == ["name0", "name1", "name2"]
    assert names(events, container=["name2", 7, None]) == ["name2"]


def test_an_unknown_filter_is_named() -> None:
    with pytest.raises(InvalidInput, match="colour"):
        names(made(), colour="red")


def test_followers_get_what_comes_and_end_when_the_engine_does() -> None:
    events, heard = made(), []
    thread = threading.Thread(
        target=lambda: heard.extend(
            event["name"] for event in events.follow(0, {"action": "die"}, True, lambda: True)
        )
    )
    thread.start()
    events.publish("container", "die", "id9", "name9")
    events.close()
    thread.join(5)
    assert heard == ["name9"]


def test_who_has_gone_is_not_served_on_even_if_something_always_happens() -> None:
    events = made()
    assert list(events.follow(0, {"action": "none"}, True, lambda: False)) == []
