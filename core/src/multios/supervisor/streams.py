"""What a process writes: read from its pipe or terminal, logged, and passed on to whoever is attached.

A reader that is slow holds up its own container and no other: while it has not taken a chunk, the stream is
not read any further, the pipe fills, and the container's write(2) waits.
"""

from __future__ import annotations

import fcntl
import os
import signal

from multios.supervisor.complaint import complain
from multios.supervisor.loop import READ, WRITE
from multios.supervisor.transit import CHUNK
from multios.supervisor.wire import close_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from multios.supervisor.logs import Log
    from multios.supervisor.loop import Loop
    from multios.supervisor.transit import Transit

STOLEN_SECONDS = 0.1


class Reader:
    """The supervisor's end of an attached client's pipe, and what the client has not taken yet."""

    __slots__ = ("descriptor", "pending")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.pending = b""

    def offer(self, data: bytes) -> bool:
        """Write what goes in at once and keep the rest; ``False`` when the reader has gone."""
        self.pending += data
        try:
            while self.pending:
                self.pending = self.pending[os.write(self.descriptor, self.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class Stream:
    """One output of a process: ``stdout``, ``stderr``, or a terminal's master (logged as stdout)."""

    __slots__ = ("_loop", "_paused", "_readers", "_terminal", "_transit", "descriptor", "log", "name")

    def __init__(
        self, loop: Loop, transit: Transit, descriptor: int, name: str, log: Log | None, terminal: bool
    ) -> None:
        self._loop = loop
        self._transit = transit
        self.descriptor = descriptor
        self.name = name
        self.log = log
        self._terminal = terminal
        self._readers: dict[int, Reader] = {}
        self._paused = False
        os.set_blocking(descriptor, False)
        loop.watch(descriptor, READ, self._on_ready)

    def attach(self) -> int:
        """A new descriptor, the caller's, that gives everything from now on, and then the end."""
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        if self.descriptor < 0:
            os.close(ours)
            return theirs
        os.set_blocking(ours, False)
        self._readers[ours] = Reader(ours)
        self._loop.watch(ours, 0, lambda events: self._on_reader(ours))
        return theirs

    def drain(self) -> None:
        """Take what is in the pipe now, after the process's end, and close the stream.

        At most what the pipe holds: a grandchild that has the other end may go on writing for ever.
        """
        left = 1 << 20 if self._terminal else fcntl.fcntl(self.descriptor, fcntl.F_GETPIPE_SZ) + 1
        while self.descriptor >= 0 and left > 0:
            data = self._read()
            if data is None:
                break
            left -= len(data)
            self._pass_on(data)
        self._end()

    def close(self) -> None:
        """Close everything at once; readers lose what they have not taken."""
        for reader in list(self._readers.values()):
            self._drop(reader)
        self._end()

    def _on_ready(self, events: int) -> None:
        data = self._read()
        if data is not None:
            self._pass_on(data)
            self._adjust()

    def _read(self) -> bytes | None:
        """The next chunk, empty at the end, ``None`` when there is nothing now."""
        try:
            return self._read_terminal() if self._terminal else self._take()
        except BlockingIOError:
            return None
        except OSError:  # a terminal whose other side is closed says EIO
            return b""

    def _take(self) -> bytes:
        if self.log is None:
            return os.read(self.descriptor, CHUNK)
        return self._transit.take(self.descriptor, self.name, self.log)

    def _read_terminal(self) -> bytes:
        """Read the master, of which an attached client holds a copy: it could make this read wait.

        The copy shares the flag O_NONBLOCK, which the client may clear, and the data, which it may steal.
        So an alarm stands by; who makes it ring loses his terminal's output.
        """
        signal.setitimer(signal.ITIMER_REAL, STOLEN_SECONDS)
        try:
            return self._take()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _pass_on(self, data: bytes) -> None:
        if not data:
            self._end()
            return
        if self.log is not None:
            self._transit.deliver(data, self.name, self.log)
        for reader in list(self._readers.values()):
            if reader.offer(data):
                self._loop.change(reader.descriptor, WRITE if reader.pending else 0)
            else:
                self._drop(reader)

    def _on_reader(self, descriptor: int) -> None:
        """A reader can take more, or has gone."""
        reader = self._readers[descriptor]
        if not reader.pending or not reader.offer(b""):
            self._drop(reader)
        elif not reader.pending:
            if self.descriptor < 0:
                self._drop(reader)
            else:
                self._loop.change(descriptor, 0)
        self._adjust()

    def _adjust(self) -> None:
        """Read on, or not, depending on whether every reader is up to date."""
        if self.descriptor < 0:
            return
        behind = any(reader.pending for reader in self._readers.values())
        if behind == self._paused:
            return
        self._paused = behind
        if behind:
            self._loop.unwatch(self.descriptor)  # not change(0): a pipe's end would be told again and again
        else:
            self._loop.watch(self.descriptor, READ, self._on_ready)

    def _end(self) -> None:
        if self.descriptor >= 0:
            self._loop.unwatch(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = -1
        for reader in list(self._readers.values()):
            if not reader.pending:
                self._drop(reader)

    def _drop(self, reader: Reader) -> None:
        del self._readers[reader.descriptor]
        self._loop.unwatch(reader.descriptor)
        os.close(reader.descriptor)


class Streams:
    """All that the supervisor keeps of a process's standard streams.

    ``stdin`` is the pipe's end that waits for its first attached client, or -1.
    """

    __slots__ = ("_transit", "log", "outputs", "stdin", "terminal")

    def __init__(self, transit: Transit, log: Log | None = None, terminal: bool = False) -> None:
        self._transit = transit
        self.log = log
        self.terminal = terminal
        self.stdin = -1
        self.outputs: list[Stream] = []

    def add(self, loop: Loop, name: str, descriptor: int) -> None:
        """Begin to read an output."""
        self.outputs.append(Stream(loop, self._transit, descriptor, name, self.log, self.terminal))

    def attach(self, stdin: bool) -> list[int]:
        """New ends for a client, three of them, -1 where there is none; the client's to close.

        For pipes standard input, output and error; for a terminal its master, its output and nothing.
        """
        given = [output.attach() for output in self.outputs]
        if self.terminal:
            master = self.outputs[0].descriptor if self.outputs else -1
            return [os.dup(master) if master >= 0 else -1, *given, -1]
        first = -1
        if stdin:
            first, self.stdin = (
                self.stdin,
                -1,
            )  # given away for good: its closing is the process's end of file
        return [first, *given] if given else [first, -1, -1]

    def finish(self) -> None:
        """The process has ended: take what is left, then close."""
        for output in self.outputs:
            if output.descriptor >= 0:
                output.drain()
        self._close_rest()

    def close(self) -> None:
        """Close everything, whatever is left."""
        for output in self.outputs:
            output.close()
        self._close_rest()

    def _close_rest(self) -> None:
        close_all([self.stdin])
        self.stdin = -1
        if self.log is not None:
            self.log.close()
            self.log = None
            for output in self.outputs:
                output.log = None


def interrupt_stolen_reads() -> None:
    """Make the alarm of :meth:`Stream._read_terminal` break off a read that waits."""

    def ring(number: int, frame: FrameType | None) -> None:
        complain("terminal", "an attached client made its master block")
        raise OSError("the terminal's output was stolen")

    signal.signal(signal.SIGALRM, ring)
