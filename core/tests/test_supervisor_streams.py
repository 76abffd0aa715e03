from __future__ import annotations

import os
import pty
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.supervisor import streams
from multios.supervisor.logs import Log
from multios.supervisor.loop import Loop
from multios.supervisor.transit import Transit


@pytest.fixture
def loop() -> Iterator[Loop]:
    former = signal.getsignal(signal.SIGALRM)
    streams.interrupt_stolen_reads()
    made = Loop()
    made.later(5, lambda: None)  # keeps a turn from waiting for ever
    yield made
    signal.signal(signal.SIGALRM, former)


def turns(loop: Loop, count: int = 5) -> None:
    for _ in range(count):
        loop.later(0.001, lambda: None)
        loop.turn()


def test_a_stream_waits_for_its_slow_reader_and_goes_on_when_he_reads(loop: Loop) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    stream = streams.Stream(loop, Transit(), ours, "stdout", None, False)
    reader = stream.attach()
    written = 0
    for _ in range(50):  # until nothing goes in any more
        try:
            written += os.write(theirs, b"x" * 4096)
        except BlockingIOError:
            pass
        turns(loop, 1)
    for _ in range(100):
        try:
            written += os.write(theirs, b"x" * 65536)
        except BlockingIOError:
            pass
        turns(loop, 1)
    assert written < 400_000  # two pipes and a chunk, whatever was tried
    os.close(theirs)
    got = 0
    os.set_blocking(reader, False)
    while True:
        try:
            data = os.read(reader, 65536)
        except BlockingIOError:
            turns(loop, 1)
            continue
        if not data:
            break
        got += len(data)
    assert got == written
    os.close(reader)


def test_what_is_left_at_the_end_reaches_log_and_reader(loop: Loop, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    log = Log(str(tmp_path / "log"), 10_000, 2)
    kept = streams.Streams(Transit(), log)
    kept.add(loop, "stdout", ours)
    reader = kept.attach(False)[1]
    os.write(theirs, b"last words\n")
    kept.finish()
    assert b" stdout F last words\n" in (tmp_path / "log").read_bytes()
    assert os.read(reader, 100) == b"last words\n"
    assert os.read(reader, 100) == b""
    with pytest.raises(BrokenPipeError):  # nobody listens to a grandchild
        os.write(theirs, b"more")
    os.close(reader)
    os.close(theirs)


def test_a_terminals_read_that_is_made_to_wait_is_broken_off(loop: Loop) -> None:
    master, slave = pty.openpty()
    stream = streams.Stream(loop, Transit(), master, "stdout", None, True)
    os.set_blocking(master, True)  # what an attached client can do with its copy
    stream._on_ready(0)  # would wait for ever
    assert stream.descriptor == -1
    os.close(slave)


def test_a_waiting_standard_input_is_given_away_once(loop: Loop) -> None:
    ours, theirs = os.pipe()
    kept = streams.Streams(Transit())
    kept.add(loop, "stdout", ours)
    read, kept.stdin = os.pipe()
    first = kept.attach(True)
    second = kept.attach(True)
    assert first[0] >= 0
    assert second[0] == -1
    kept.close()
    for descriptor in (theirs, read, *first, *second[1:]):
        if descriptor >= 0:
            os.close(descriptor)


def test_the_loop_survives_a_callback_that_raises(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("trouble")

    loop.later(0, fail)
    turns(loop)
    assert "trouble" in capfd.readouterr().err
