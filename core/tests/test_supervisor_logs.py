from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.supervisor import logs


def text_of(log: bytes, stream: str) -> bytes:
    """What a reader of the log puts together again."""
    text = b""
    for line in log.split(b"\n")[:-1]:
        _, name, tag, rest = line.split(b" ", 3)
        if name == stream.encode():
            text += rest + (b"\n" if tag == b"F" else b"")
    return text


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=40))))
def test_every_byte_is_in_the_log_once_however_the_streams_are_chunked(
    chunks: list[tuple[str, bytes]],
) -> None:
    log = b"".join(line for name, data in chunks for line in logs.lines(name, data, b"when"))
    for stream in ("stdout", "stderr"):
        assert text_of(log, stream) == b"".join(data for name, data in chunks if name == stream)


@given(st.lists(st.sampled_from([b"a\n", b"b", b"\n", b"long line\nand"]), max_size=12))
def test_newlines_of_the_text_never_break_a_line_of_the_log(chunks: list[bytes]) -> None:
    for data in chunks:
        for line in logs.lines("stdout", data, b"when"):
            assert line.count(b"\n") == 1
            assert line.endswith(b"\n")


def test_a_stamp_is_utc_with_nanoseconds() -> None:
    stamp = logs.stamp().decode()
    assert len(stamp) == len("2026-11-23T10:00:00.000000000Z")
    assert stamp.endswith("Z")


def test_a_full_file_is_rotated_and_only_so_many_are_kept(tmp_path: Path) -> None:
    log = logs.Log(str(tmp_path / "log"), max_size=200, max_files=3)
    for number in range(20):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    kept = b"".join((tmp_path / name).read_bytes() for name in ("log.2", "log.1", "log"))
    numbers = [int(line.rsplit(b" ", 1)[1]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 20))
    assert all(path.stat().st_size <= 200 for path in tmp_path.iterdir())


def test_a_log_of_one_file_starts_over(tmp_path: Path) -> None:
    log = logs.Log(str(tmp_path / "log"), max_size=100, max_files=1)
    for number in range(20):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_disk_that_is_full_does_not_raise() -> None:
    log = logs.Log("/dev/full", max_size=100, max_files=1)
    log.write("stdout", b"text\n")
    log.close()


@pytest.mark.parametrize("text", [b"one\ntwo\n", b"one\ntwo"])
def test_of_a_text_half_written_only_whole_lines_are_kept(tmp_path: Path, text: bytes) -> None:
    before, path = b"before\n", tmp_path / "log"
    with closing(logs.Log(str(path), 10_000, 1)) as log:
        log.write("stdout", before)
        begin = log.size
        log.write("stdout", text)
        whole = path.read_bytes()
    for size in range(begin, len(whole) + 1):
        path.write_bytes(whole[:size])
        with closing(logs.Log(str(path), 10_000, 1)) as log:
            kept = log.keep_whole_lines("stdout", text, begin)
            assert kept in (0, len(b"one\n"), len(text))
            assert log.size == path.stat().st_size
            log.write("stdout", text[kept:])
        assert text_of(path.read_bytes(), "stdout") == before + text


def test_of_a_text_written_to_a_former_file_nothing_is_kept(tmp_path: Path) -> None:
    with closing(logs.Log(str(tmp_path / "log"), 10_000, 1)) as log:
        log.write("stdout", b"new\n")
        size = log.size
        assert log.keep_whole_lines("stdout", b"old\n", size + 1) == 0
        assert (tmp_path / "log").stat().st_size == size
