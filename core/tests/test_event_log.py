"""Events on disk: numbers go on, segments come and go, torn lines are left out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from multios.engine.event_log import EventLog


def event(number: int, **attributes: Any) -> dict[str, Any]:
    return {
        "sequence": number,
        "type": "container",
        "action": "start",
        "id": "0123456789abcdef" * 4,
        "name": "name",
        "time": 1.5,
        "attributes": attributes,
    }


def write(events: EventLog, count: int) -> None:
    for _ in range(count):
        events.append(event(events.last + 1))


def numbers(events: EventLog, after: int = 0) -> list[int]:
    return [item["sequence"] for item in events.reader(after).fresh()]


def test_numbers_go_on_in_the_next_daemon(tmp_path: Path) -> None:
    events = EventLog(tmp_path / "events")
    assert events.last == 0 and numbers(events) == []
    write(events, 3)
    events = EventLog(tmp_path / "events")  # the former one was killed
    assert events.last == 3
    write(events, 2)
    assert numbers(events) == [1, 2, 3, 4, 5]
    assert numbers(events, after=4) == [5]
    assert numbers(events, after=5) == numbers(events, after=99) == []


def test_what_is_kept_has_a_bound_and_only_root_reads_it(tmp_path: Path) -> None:
    events = EventLog(tmp_path / "events", segment_bytes=1000, segments=3)
    write(events, 500)
    files = sorted((tmp_path / "events").iterdir())
    assert len(files) == 3 and all(file.stat().st_size <= 1000 for file in files)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert (tmp_path / "events").stat().st_mode & 0o777 == 0o700
    kept = numbers(events)
    assert kept == list(range(kept[0], 501)) and 10 < len(kept) < 30
    again = EventLog(tmp_path / "events", segment_bytes=1000, segments=3)
    assert again.last == 500 and numbers(again) == kept
    assert numbers(again, after=1) == kept, "what is gone is left out"


def test_an_event_larger_than_a_segment_has_one_of_its_own(tmp_path: Path) -> None:
    events = EventLog(tmp_path / "events", segment_bytes=1000, segments=3)
    write(events, 1)
    events.append(event(2, long="x" * 5000))
    write(events, 1)
    assert numbers(events) == [1, 2, 3]


def test_a_slow_reader_gets_the_rest_of_its_segment_and_what_is_still_there(tmp_path: Path) -> None:
    events = EventLog(tmp_path / "events", segment_bytes=1000, segments=2)
    write(events, 2)
    reader = events.reader()
    found = reader.fresh()
    assert next(found)["sequence"] == 1
    write(events, 100)
    seen = [item["sequence"] for item in found] + [item["sequence"] for item in reader.fresh()]
    assert seen[:3] == [2, 3, 4] and seen[-1] == 102 and seen == sorted(set(seen))
    write(events, 1)
    assert [item["sequence"] for item in reader.fresh()] == [103]
    reader.close()


@pytest.mark.parametrize("tail", [b'{"sequence": 9, "ty', b"\0\0\0\0", b"\xff\xfe", b"["])
def test_a_torn_last_line_is_forgotten(tmp_path: Path, tail: bytes) -> None:
    events = EventLog(tmp_path / "events")
    write(events, 2)
    (file,) = (tmp_path / "events").iterdir()
    with file.open("ab") as torn:
        torn.write(tail)
    events = EventLog(tmp_path / "events")
    write(events, 1)
    assert numbers(events) == [1, 2, 3]


@given(
    lines=some.lists(
        some.one_of(some.binary(max_size=40).filter(lambda data: b"\n" not in data), some.just(b""))
    ),
    tail=some.binary(max_size=40),
)
@settings(deadline=None, max_examples=60)
def test_whatever_stands_in_the_file_what_follows_is_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], tail: bytes
) -> None:
    directory = tmp_path_factory.mktemp("log") / "events"
    events = EventLog(directory)
    write(events, 3)
    (file,) = directory.iterdir()
    with file.open("ab") as broken:
        broken.write(b"".join(line + b"\n" for line in lines) + tail)
    events = EventLog(directory)
    write(events, 2)
    found = numbers(events)
    assert found == [1, 2, 3, 4, 5]
    events.close()


@given(
    steps=some.lists(
        some.tuples(some.sampled_from(["write", "restart", "read"]), some.integers(1, 9)), max_size=30
    ),
    size=some.integers(100, 2000),
)
@settings(deadline=None, max_examples=60)
def test_readers_and_restarts_in_any_order_lose_and_double_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], size: int
) -> None:
    directory = tmp_path_factory.mktemp("log") / "events"
    events = EventLog(directory, size, segments=1000)
    reader, seen, written = events.reader(), list[int](), 0
    for step, count in steps:
        if step == "write":
            write(events, count)
            written += count
        elif step == "restart":
            reader.close()
            events.close()
            events = EventLog(directory, size, segments=1000)
            reader = events.reader(after=seen[-1] if seen else 0)
        else:
            seen += [item["sequence"] for item in reader.fresh()]
    seen += [item["sequence"] for item in reader.fresh()]
    assert seen == list(range(1, written + 1))
    reader.close()
    events.close()


def test_a_disk_that_fails_costs_events_and_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    events, genuine = EventLog(tmp_path / "events"), os.write
    write(events, 1)
    monkeypatch.setattr(os, "write", lambda descriptor, data: genuine(descriptor, data[:10]))
    write(events, 2)
    monkeypatch.undo()
    write(events, 1)
    assert numbers(events) == [1, 4]
    assert "cannot be kept" in caplog.text and "2 were lost" in caplog.text


def test_keeping_an_event_is_quick(tmp_path: Path) -> None:
    events = EventLog(tmp_path / "events")
    write(events, 100)
    seconds = []
    for _ in range(10):
        began = time.thread_time()
        write(events, 200)
        seconds.append((time.thread_time() - began) / 200)
    assert min(seconds) < 100e-6
