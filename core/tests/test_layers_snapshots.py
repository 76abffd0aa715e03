"""The snapshot store: what exists is whole, whatever fails or dies."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multios.errors import Conflict, MultiosError, NotFound, StepFailed
from multios.layers.snapshots import SnapshotStore


def make(store: SnapshotStore, key: str, parent: str = "", kind: str = "active") -> None:
    with store.making(key, parent, kind) as directory:
        Path(directory, "file").write_text(key)


def reopened(store: SnapshotStore) -> SnapshotStore:
    store.close()
    return SnapshotStore(store.state)


def whole(store: SnapshotStore) -> set[str]:
    """The keys, after checking that disk and records agree."""
    store.trash.wait()
    records = store.records()
    assert set(os.listdir(f"{store.state}/data")) == {record.id for record in records if record.id}
    assert set(os.listdir(f"{store.state}/index")) == {f"{record.key}.json" for record in records}
    assert os.listdir(store.trash.path) == []
    for record in records:
        assert not record.id or Path(store.directory(record), "file").exists()
        assert not record.parent or store.get(record.parent).kind == "committed"
    return {record.key for record in records}


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    with pytest.raises(ZeroDivisionError):
        with store.making("one", "", "active") as directory:
            Path(directory, "file").touch()
            _ = 1 / 0
    assert whole(store) == set()
    make(store, "one")


def test_a_parent_cannot_go_while_a_child_is_being_made(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    make(store, "one")
    store.commit("base", "one")
    with store.making("child", "base", "active") as directory:
        with pytest.raises(Conflict):
            store.remove("base")
        with pytest.raises(Conflict):
            make(store, "child")
        with pytest.raises(NotFound):
            store.get("child")
        Path(directory, "file").touch()
    assert whole(store) == {"base", "child"}


def scenario(store: SnapshotStore) -> None:
    make(store, "one")
    store.commit("base", "one")
    make(store, "two", "base")
    with store.making("view", "base", "view", with_directory=False):
        pass
    store.remove("view")
    store.remove("two")
    store.remove("base")


CALLS = ("mkdir", "open", "rename", "unlink", "write", "close")


class Fault(Exception):
    """Death: nothing that runs afterwards has an effect."""


def strike(monkeypatch: pytest.MonkeyPatch, number: int, dead: bool) -> list[str]:
    """Make the call of this number fail; ``dead``: and all later ones too, as if the process were gone."""
    calls: list[str] = []

    def struck(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if dead and len(calls) >= number and name != "close":
                raise Fault(name)
            if not dead and len(calls) == number and name != "close":
                raise OSError(28, "No space left on device")
            return original(*arguments, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(f"multios.layers.snapshots.os.{name}", struck(name, getattr(os, name)))
    return calls


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("number", range(1, 40))
def test_whatever_call_fails_snapshots_are_whole_or_absent(tmp_path: Path, number: int, dead: bool) -> None:
    store = SnapshotStore(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        strike(patch, number, dead)
        try:
            scenario(store)
        except (MultiosError, Fault):
            pass
    keys = whole(reopened(store))
    assert keys in (set(), {"one"}, {"base"}, {"base", "two"}, {"base", "two", "view"})


def test_the_scenario_makes_fewer_calls_than_are_struck(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        calls = strike(patch, 10_000, dead=False)
        scenario(store)
        count = len(calls)
    assert 20 < count < 40


def test_no_space_is_said(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    with pytest.raises(StepFailed, match="No space") as caught:
        with store.making("one", "", "active"):
            raise OSError(28, "No space left on device")
    assert caught.value.remedy


def test_leftovers_are_collected(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    make(store, "one")
    (tmp_path / "data/unknown/deep").mkdir(parents=True)
    (tmp_path / "trash/old/deep").mkdir(parents=True)
    (tmp_path / "index/.half").write_text("{")
    (tmp_path / "index/empty.json").touch()
    assert whole(reopened(store)) == {"one"}


def test_a_commit_that_died_between_its_two_steps_is_done(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    make(store, "one")
    record = json.loads((tmp_path / "index/one.json").read_text())
    (tmp_path / "index/base.json").write_text(json.dumps({**record, "key": "base", "kind": "committed"}))
    assert whole(reopened(store)) == {"base"}


def test_what_lost_its_parent_or_its_files_goes(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    make(store, "one")
    store.commit("base", "one")
    make(store, "two", "base")
    os.rename(store.directory(store.get("base")), tmp_path / "lost")
    assert whole(reopened(store)) == set()


def test_a_second_process_does_not_collect_what_the_first_is_making(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    with store.making("one", "", "active") as directory:
        Path(directory, "file").touch()
        other = SnapshotStore(tmp_path)
        assert other.records() == []
        other.close()
    assert whole(store) == {"one"}


def test_removal_answers_before_the_files_are_gone(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    with store.making("big", "", "active") as directory:
        for number in range(300):
            os.mkdir(f"{directory}/{number}")
    store.remove("big")
    assert os.listdir(tmp_path / "data") == []
    assert store.trash.wait(60)
    assert os.listdir(tmp_path / "trash") == []
