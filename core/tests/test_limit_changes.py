"""What limits come to together, and how an update is taken back."""

from __future__ import annotations

import sqlite3

import pytest
from engine_box import Box
from hypothesis import given
from hypothesis import strategies as st

from multios.engine import limit_changes
from multios.errors import InvalidInput, MultiosError
from multios.model.container import Resources, merged

MIB = 1 << 20
numbers = st.none() | st.just(-1) | st.integers(1, 1 << 40)
resources = st.builds(
    Resources,
    cpu_limit=st.none() | st.just(-1) | st.floats(0.01, 64),
    cpu_shares=numbers,
    cpuset=st.none() | st.sampled_from(["", "0", "0-3"]),
    memory_limit=st.none() | st.just(-1),
    pids_limit=numbers,
    io_limit=numbers,
    io_bytes_limit=numbers,
    hugepages=st.none() | st.dictionaries(st.sampled_from(["2MB", "1GB"]), st.just(-1) | st.integers(1, 99)),
)


def in_force(limits: Resources) -> dict[str, object]:
    """What a host would enforce: nothing asked and no limit are one."""
    found = {name: getattr(limits, name) for name in Resources.__slots__}
    found["hugepages"] = {size: value for size, value in (limits.hugepages or {}).items() if value != -1}
    return {name: value for name, value in found.items() if value not in (None, -1, "", {})}


@given(resources, resources)
def test_an_update_and_its_inverse_come_to_nothing(before: Resources, change: Resources) -> None:
    after = merged(change, before)
    assert in_force(merged(limit_changes.inverse(change, before), after)) == in_force(before)


def test_memory_without_a_limit_takes_that_of_swap_with_it() -> None:
    before = Resources(memory_limit=64 * MIB, memory_swap=96 * MIB)
    after = limit_changes.together(Resources(memory_limit=-1), before)
    assert (after.memory_limit, after.memory_swap) == (-1, None)
    back = limit_changes.inverse(Resources(memory_limit=-1), before)
    assert (back.memory_limit, back.memory_swap) == (64 * MIB, 96 * MIB)


def test_huge_pages_change_size_by_size() -> None:
    before = Resources(hugepages={"2MB": 8 * MIB})
    after = limit_changes.together(Resources(hugepages={"1GB": 1 << 30}), before)
    assert after.hugepages == {"2MB": 8 * MIB, "1GB": 1 << 30}


@pytest.mark.parametrize(
    "asked",
    [Resources(memory_swap=64 * MIB), Resources(memory_limit=-1, memory_swap=64 * MIB),
     Resources(memory_limit=64 * MIB, memory_swap=32 * MIB)],
)  # fmt: skip
def test_memory_and_swap_that_contradict_each_other_are_refused(asked: Resources) -> None:
    with pytest.raises(InvalidInput, match="memory_swap"):
        limit_changes.together(asked, Resources())


def test_an_update_that_cannot_be_recorded_is_taken_back(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started(resources={"pids_limit": 50})

    def full(record: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(box.engine.database, "save", full)
        with pytest.raises(MultiosError, match="full"):
            box.call("containers.update", ref=container.name, resources={"pids_limit": 9, "cpu_limit": 1})
    assert box.isolation._limits[container.id].pids_limit == 50
    assert box.isolation._limits[container.id].cpu_limit == -1
    assert box.now(container).config.resources == container.config.resources


def test_an_update_that_the_driver_refuses_changes_no_record(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = box.started(resources={"pids_limit": 50})

    def refuse(container_id: str, resources: Resources) -> None:
        raise InvalidInput("the kernel refuses")

    monkeypatch.setattr(box.isolation, "update", refuse)
    with pytest.raises(InvalidInput):
        box.call(
            "containers.update", ref=container.name, resources={"pids_limit": 9}, restart_policy="always"
        )
    assert box.now(container).config == container.config
