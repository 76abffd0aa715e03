"""A supervisor that is killed with a chunk on its way: its successor's log has every byte, and each once."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from multios.supervisor import logs, transit, wire
from multios.supervisor.logs import Log
from multios.supervisor.transit import Transit

TRACED = (logs.__file__, transit.__file__)
TEXT = b"y\n" * 9 + b"".join(b"line %d\n" % number for number in range(9)) + b"y\n" * 3 + b"a prompt: "
FILE_BYTES = 400
"""Some lines fit into one file, not all of TEXT."""


class Tap:
    """An output of a container, its log, and what a supervisor would do with them."""

    def __init__(self, directory: Path, files: int = 100) -> None:
        self.path, self.files = directory / "log", files
        self.source, self.end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.source, False)
        self.transit = Transit()

    def close(self) -> None:
        wire.close_all([self.source, self.end, *self.transit.copies()])

    def log(self) -> Log:
        return Log(str(self.path), FILE_BYTES, self.files)

    def pump(self) -> None:
        """Take what is there and write it."""
        with closing(self.log()) as log:
            self.transit.deliver(self.transit.take(self.source, "stdout", log), "stdout", log)

    def go_on(self) -> None:
        """Come after one that was killed."""
        successor = Transit()
        successor.adopt([os.dup(descriptor) for descriptor in self.transit.copies()])
        try:
            with closing(self.log()) as log:
                successor.deliver(successor.take(self.source, "stdout", log), "stdout", log)
        except BlockingIOError:
            pass
        finally:
            wire.close_all(successor.copies())

    def text(self) -> bytes:
        """What the log's files hold, put together again."""
        files = sorted(self.path.parent.iterdir(), key=lambda path: -int(path.suffix[1:] or 0))
        read = b""
        for line in b"".join(path.read_bytes() for path in files).split(b"\n")[:-1]:
            _, name, tag, rest = line.split(b" ", 3)
            assert name == b"stdout"
            read += rest + (b"\n" if tag == b"F" else b"")
        return read


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[Tap]:
    with closing(Tap(tmp_path)) as made:
        yield made


def killed(work: Callable[[], None], step: int) -> bool:
    """Do ``work`` in a process that is killed before line number ``step`` of ours; whether it got so far."""
    child = os.fork()
    if not child:
        left = step

        def trace(frame: FrameType, event: str, argument: object) -> object:
            nonlocal left
            if frame.f_code.co_filename not in TRACED:
                return None
            if event == "line":
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]  # a trace function's own type is recursive
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("second", [0, 3, 29])
def test_killed_before_any_line_and_the_successor_too_no_byte_is_lost_and_none_is_there_twice(
    tmp_path: Path, second: int
) -> None:
    step, dies = 0, True
    while dies:
        step += 1
        place = tmp_path / str(step)
        place.mkdir()
        with closing(Tap(place)) as tap:
            os.write(tap.end, TEXT)
            dies = killed(tap.pump, step)
            if dies and second:
                killed(tap.go_on, 1 + step * second % 151)
            if dies:
                tap.go_on()
            assert tap.text() == TEXT, f"killed before line {step}"
    assert len(list(place.iterdir())) > 2
    assert step > 100


def pump_and_die_in(tap: Tap, call: str, does: Callable[..., object]) -> None:
    """Pump in a process that is killed in a function of ``os``, of which it has done what ``does`` does."""

    def work() -> None:
        def die(*arguments: Any, **options: Any) -> None:
            does(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, call, die)
        tap.pump()

    assert killed(work, 10_000)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_killed_in_a_write_that_is_half_done_no_line_is_cut(tap: Tap, share: float) -> None:
    genuine = os.write
    os.write(tap.end, TEXT)
    pump_and_die_in(
        tap, "write", lambda descriptor, data: genuine(descriptor, data[: int(len(data) * share)])
    )
    tap.go_on()
    assert tap.text() == TEXT


def test_killed_when_it_does_not_know_yet_how_much_it_has_taken(tap: Tap) -> None:
    os.write(tap.end, TEXT)
    pump_and_die_in(tap, "splice", os.splice)
    tap.go_on()
    assert tap.text() == TEXT


def test_a_log_of_one_file_goes_on_at_its_beginning(tap: Tap) -> None:
    tap.files = 1
    os.write(tap.end, TEXT)
    step = 1
    while killed(tap.pump, step):
        tap.go_on()
        assert TEXT.endswith(tap.text())
        os.write(tap.end, TEXT)
        step += 1
    assert step > 100


def test_what_a_removed_container_left_reaches_no_other(tap: Tap, tmp_path: Path) -> None:
    for victim in (tap.pump, tap.go_on):
        step, dies = 0, True
        while dies:
            step += 1
            os.write(tap.end, b"secret\n")
            dies = killed(victim, step)
            shutil.rmtree(tmp_path)
            other = Path(tempfile.mkdtemp(dir=tmp_path.parent))
            tap.path = other / "log"
            own, tap.source, tap.end = (tap.source, tap.end), *os.pipe2(os.O_NONBLOCK)
            os.write(tap.end, b"mine\n")
            tap.go_on()
            assert tap.text() == b"mine\n"
            wire.close_all([tap.source, tap.end])
            tap.source, tap.end = own
            tap.path = tmp_path / "log"
            tmp_path.mkdir()


def test_a_pipe_of_packets_is_read_whole(tap: Tap) -> None:
    os.close(tap.end)
    os.close(tap.source)
    tap.source, tap.end = os.pipe2(os.O_DIRECT)
    for number in range(5):
        os.write(tap.end, b"packet %d\n" % number)
    tap.pump()
    assert tap.text() == b"".join(b"packet %d\n" % number for number in range(5))


def test_a_terminals_text_goes_the_same_way(tap: Tap) -> None:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    tap.source = master
    os.write(slave, b"hello\n")
    step = 1
    while killed(tap.pump, step):
        tap.go_on()
        os.write(slave, b"hello\n")
        step += 1
    assert tap.text() == b"hello\r\n" * step
    os.close(slave)
    with pytest.raises(OSError, match="Input/output error"):
        tap.pump()


def test_a_source_with_nothing_leaves_nothing_on_its_way(tap: Tap) -> None:
    with pytest.raises(BlockingIOError):
        tap.pump()
    with closing(tap.log()) as log:
        os.close(tap.end)
        assert tap.transit.take(tap.source, "stdout", log) == b""
    tap.go_on()
    assert tap.text() == b""
