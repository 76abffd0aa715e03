"""Copying between the caller's streams and a container's."""

from __future__ import annotations

import os
import select
import stat
import time

from multios.api.protocol import PeerGone, close_all
from multios.errors import MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.api.client import Answers

CHUNK = 65536
PTY_CHUNK = 256
"""What a pty takes at once without blocking, when it says that it is ready."""
CTRL_P, CTRL_Q = 0x10, 0x11
STDIN, STDOUT, STDERR = 0, 1, 2


class DetachKeys:
    """Finds ctrl-p ctrl-q in what is typed, over the borders of reads."""

    def __init__(self) -> None:
        self.detached = False
        self._held = False

    def filter(self, data: bytes) -> bytes:
        """What of ``data`` goes on to the container; sets ``detached``."""
        result = bytearray()
        for byte in data:
            if self._held and byte == CTRL_Q:
                self.detached = True
                break
            if self._held:
                result.append(CTRL_P)
            self._held = byte == CTRL_P
            if not self._held:
                result.append(byte)
        return bytes(result)


class Output:
    """One stream of the container's, copied to one of ours; by splice(2) where the kernel can."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self._splices = stat.S_ISFIFO(os.fstat(source).st_mode)

    def copy(self) -> bool:
        """Copy what is there; false at the end."""
        if self._splices:
            try:
                return os.splice(self.source, self.target, CHUNK) > 0
            except BrokenPipeError:
                raise
            except OSError:  # the target is a terminal, appends, or does not block
                self._splices = False
        try:
            data = os.read(self.source, CHUNK)
        except OSError:  # EIO: the last holder of the pty's other side is gone
            return False
        write_all(self.target, data)
        return bool(data)


class Input:
    """Our stdin, copied to the container's; ``target`` is closed at the end unless it is a terminal's."""

    def __init__(self, target: int, terminal: bool, keys: DetachKeys | None) -> None:
        self.target = target
        self.keys = keys
        self.pending = b""
        self.reading = True
        self._terminal = terminal
        if not terminal:
            os.set_blocking(target, False)

    @property
    def wants(self) -> tuple[bool, bool]:
        """Whether to read stdin, and whether to write to the container."""
        return self.reading and not self.pending, bool(self.pending)

    def read(self) -> None:
        """Take what stdin has."""
        try:
            data = os.read(STDIN, CHUNK)
        except OSError:
            data = b""
        if not data:
            self._end()
        self.pending = self.keys.filter(data) if self.keys else data

    def write(self) -> None:
        """Give the container what it takes now."""
        try:
            written = os.write(self.target, self.pending[: PTY_CHUNK if self._terminal else CHUNK])
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self.pending = b""
            self._end()
            return
        self.pending = self.pending[written:]

    def _end(self) -> None:
        self.reading = False
        if not self._terminal and self.target >= 0:
            os.close(self.target)
            self.target = -1


def copy(outputs: list[Output], source: Input | None, answers: Answers | None, linger: float) -> str:
    """Copy until all outputs have ended: ``ended``; ``detached`` when the keys said so; ``gone`` when the daemon did.

    Once ``answers`` is final, outputs that stay open without a byte for ``linger`` seconds are left. Closes the
    container's streams.
    """
    try:
        return _copy(list(outputs), source, answers, linger)
    finally:
        close_all([output.source for output in outputs])
        if source is not None:
            close_all([source.target])


def _copy(outputs: list[Output], source: Input | None, answers: Answers | None, linger: float) -> str:
    gone = False
    last = time.monotonic()
    while outputs:
        final = answers is not None and answers.finished
        watched = answers if not gone and not final else None
        ready = dict(_poll(outputs, source, watched).poll(int(linger * 1000) if final else None))
        moved = False
        for output in [output for output in outputs if output.source in ready]:
            moved = True
            if not output.copy():
                outputs.remove(output)
        if source is not None:
            _pump(source, ready)
            if source.keys is not None and source.keys.detached:
                return "detached"
        if watched is not None and watched.fileno() in ready:
            gone = not _take(watched)
        now = time.monotonic()
        last = now if moved or not final else last
        if final and now - last >= linger:
            break
    return "gone" if gone else "ended"


def _poll(outputs: list[Output], source: Input | None, answers: Answers | None) -> select.poll:
    poll = select.poll()
    for output in outputs:
        poll.register(output.source, select.POLLIN)
    if source is not None:
        reads, writes = source.wants
        if reads:
            poll.register(STDIN, select.POLLIN)
        if writes:
            poll.register(source.target, select.POLLOUT)
    if answers is not None:
        poll.register(answers.fileno(), select.POLLIN)
    return poll


def _pump(source: Input, ready: dict[int, int]) -> None:
    reads, writes = source.wants
    if reads and STDIN in ready:
        source.read()
    elif writes and source.target in ready:
        source.write()


def _take(answers: Answers) -> bool:
    """Read one answer beside the streams; false when the daemon is gone. An error of the daemon's is raised."""
    try:
        answer = answers.next()
    except PeerGone:
        return False
    if answer is not None:
        close_all(answer[2])
    return True


def write_all(target: int, data: bytes) -> None:
    """Write everything, waiting where the target does not block."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(target, select.POLLOUT)
            poll.poll()


def finish(answers: Answers) -> dict[str, object]:
    """The final answer's result, everything before it read."""
    while (answer := answers.next()) is not None:
        close_all(answer[2])
    if not isinstance(answers.result, dict):
        raise MultiosError(
            "the daemon's answer cannot be read", "use a client and a daemon of the same version"
        )
    return answers.result
