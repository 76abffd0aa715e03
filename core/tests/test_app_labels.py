"""The order in which containers of an app end, from their labels alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from multios.app_labels import DEPENDS_LABEL, SERVICE_LABEL, waves


def row(service: str, *depends: str, number: int = 1) -> dict[str, Any]:
    labels = {SERVICE_LABEL: service, DEPENDS_LABEL: ",".join(depends)}
    return {"name": f"{service}-{number}", "labels": labels}


def names(rows: list[list[dict[str, Any]]]) -> list[list[str]]:
    return [[item["name"] for item in wave] for wave in rows]


def test_dependents_end_first_and_what_is_independent_at_once() -> None:
    rows = [
        row("db"),
        row("web", "api", number=1),
        row("web", "api", number=2),
        row("api", "db"),
        row("alone"),
    ]
    assert names(waves(rows)) == [["web-1", "web-2", "alone-1"], ["api-1"], ["db-1"]]


def test_what_has_no_labels_goes_with_the_first() -> None:
    assert names(waves([{"name": "bare", "labels": {}}, row("db")])) == [["bare", "db-1"]]


def test_nothing_is_no_wave() -> None:
    assert waves([]) == []


def test_a_circle_goes_last_at_once() -> None:
    rows = [row("a", "b"), row("b", "a"), row("c", "a")]
    assert names(waves(rows)) == [["c-1"], ["a-1", "b-1"]]


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefx"), unique=True)))
def test_everything_is_in_one_wave_and_none_waits_for_ever(graph: dict[str, list[str]]) -> None:
    rows = [row(name, *others) for name, others in graph.items()]
    found = waves(rows)
    assert sorted(name for wave in names(found) for name in wave) == sorted(item["name"] for item in rows)
    assert all(found)
