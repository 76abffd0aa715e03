"""The files of a log are opened while the supervisor rotates them: none is passed by, none is met twice."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from multios.engine.log_files import open_log
from multios.supervisor.logs import Log


def numbers_of(descriptors: list[int]) -> list[int]:
    """What numbers stand in the files, which are closed."""
    text = b""
    for descriptor in descriptors:
        with open(descriptor, "rb") as file:
            text += file.read()
    return [int(line.rsplit(b" ", 1)[1]) for line in text.splitlines()]


def test_files_are_opened_oldest_first(tmp_path: Path) -> None:
    for name, number in (("log", 3), ("log.1", 2), ("log.2", 1)):
        (tmp_path / name).write_text(f"line {number}\n")
    assert numbers_of(open_log(tmp_path / "log", 3)) == [1, 2, 3]
    assert numbers_of(open_log(tmp_path / "log", 2)) == [2, 3]


def test_a_log_that_was_not_written_yet_has_no_file(tmp_path: Path) -> None:
    assert open_log(tmp_path / "log", 3) == []


@pytest.mark.timeout(60)
def test_no_file_is_passed_by_while_they_are_rotated(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), max_size=100, max_files=5)
    written = 0
    over = threading.Event()

    def write() -> None:
        nonlocal written
        while not over.is_set():
            log.write("stdout", b"%d\n" % written)
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2000):
            found = numbers_of(open_log(tmp_path / "log", 5))
            assert found == list(range(found[0], found[0] + len(found))) if found else True
    finally:
        over.set()
        writer.join()
        log.close()
    before = len(os.listdir("/proc/self/fd"))
    assert numbers_of(open_log(tmp_path / "log", 5))[-1] == written - 1
    assert len(os.listdir("/proc/self/fd")) == before
