from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path

from multios.supervisor import foresight, refusals
from multios.supervisor.refusals import MOST, Refusals

KEY = (1, 165, 1, "mount", "")


def test_the_same_refusal_is_one_row_with_a_count(tmp_path: Path) -> None:
    record = Refusals(str(tmp_path / "refusals"))
    record.count(KEY, 10.0, {"pid": 4, "arguments": [1], "texts": {"0": "/mnt"}})
    record.count(KEY, 12.0, None)
    row = record.find(KEY)
    assert row is not None
    assert (row["count"], row["first"], row["last"], row["texts"]) == (2, 10.0, 12.0, {"0": "/mnt"})


def test_memory_is_bounded_and_the_least_recent_goes(tmp_path: Path) -> None:
    record = Refusals(str(tmp_path / "refusals"))
    for number in range(MOST + 50):
        record.count((1, number, 1, "x", ""), float(number), None)
    assert len(record) == MOST
    assert record.find((1, 49, 1, "x", "")) is None
    assert record.find((1, 50, 1, "x", "")) is not None


def test_what_was_written_is_known_again(tmp_path: Path) -> None:
    path = str(tmp_path / "refusals")
    record = Refusals(path)
    record.count(KEY, 10.0, None)
    record.write()
    again = Refusals(path)
    again.count(KEY, 11.0, None)
    row = again.find(KEY)
    assert row is not None and row["count"] == 2


def test_a_record_that_is_no_json_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "refusals").write_text("{")
    assert len(Refusals(str(tmp_path / "refusals"))) == 0


def test_the_record_of_a_removed_container_is_not_missed(tmp_path: Path) -> None:
    record = Refusals(str(tmp_path / "gone" / "refusals"))
    record.count(KEY, 1.0, None)
    record.write()
    assert not (tmp_path / "gone").exists()


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    path = tmp_path / "refusals"
    record = Refusals(str(path))
    record.count(KEY, 1.0, None)
    record.write()
    path.unlink()
    record.write()
    assert not path.exists()
    record.count(KEY, 2.0, None)
    record.write()
    assert json.loads(path.read_text())[0]["count"] == 2


def test_a_text_is_read_up_to_its_end_and_no_longer_than_allowed() -> None:
    short, long = ctypes.create_string_buffer(b"/mnt"), ctypes.create_string_buffer(b"x" * 4000)
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        assert refusals.text_at(memory, ctypes.addressof(short)) == "/mnt"
        assert refusals.text_at(memory, ctypes.addressof(long)) == "x" * refusals.MOST_TEXT
        assert refusals.text_at(memory, 8) == ""
        assert refusals.text_at(memory, 2**64 - 1) == ""
    finally:
        os.close(memory)


def test_memory_that_is_not_there_is_not_read() -> None:
    here = ctypes.create_string_buffer(8)
    assert refusals.holds_still(os.getpid(), [ctypes.addressof(here)])
    assert not refusals.holds_still(os.getpid(), [16])


def test_a_process_is_known_by_name_and_pid() -> None:
    name, inside = refusals.identify(os.getpid())
    assert name and inside > 0


def test_root_of_the_host_is_foreseen_to_be_refused_nothing() -> None:
    assert foresight.guess(["socket"], os.getpid(), [17, 3, 0]) is None
    assert foresight.guess(["owner", 1, 2], os.getpid(), [0, 5, 5]) is None


def test_an_id_that_is_to_stay_is_no_refusal() -> None:
    assert foresight.guess(["users", 0], os.getpid(), [0xFFFFFFFF]) is None


def test_writing_below_a_writable_mount_is_no_refusal(tmp_path: Path) -> None:
    path = ctypes.create_string_buffer(str(tmp_path / "new").encode())
    assert foresight.guess(["writing", -1, 0], os.getpid(), [ctypes.addressof(path)]) is None
