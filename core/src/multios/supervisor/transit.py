"""The chunk that has left a container's stream and is not in its log yet, kept where it outlives this process.

It passes through a pipe and a piece of memory of which the daemon holds copies, with a note of how much of it the
log has. So a successor writes the rest: a supervisor that is killed at any moment loses no byte and writes none
twice. One chunk is on its way at a time, for the supervisor has one thread.
"""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import os
import termios
from contextlib import closing

from multios.supervisor import wire
from multios.supervisor.complaint import complain
from multios.supervisor.logs import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 64 * 1024
COPIES = ("memory", "in", "out")

# Eight-byte words at the beginning of the memory. One is written at once, so a kill leaves it old or new.
_LABEL_SIZE, _SIZE, _NOTE = 0, 1, 2
_NOTES = (4, 8)  # two notes of three words, of which _NOTE says which holds
_WORDS = 12 * 8
_LABEL, _DATA = 256, 8192  # a path has at most PATH_MAX bytes, 4096


class Transit:
    """A chunk's way, with a label that says whose it is: ``stdout MAX_SIZE MAX_FILES /path/of/log``.

    Nothing is on its way while the label's size is 0. The chunk goes from its source to the pipe, then to the memory,
    then to the log. Its size is 0 until it is known; then it is what lies in the pipe.
    """

    def __init__(self) -> None:
        memory = os.memfd_create("transit", os.MFD_CLOEXEC)
        os.ftruncate(memory, _DATA + CHUNK)
        out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._hold([memory, into, out])

    def _hold(self, descriptors: Sequence[int]) -> None:
        self._memory, self._in, self._out = descriptors
        self._bytes = memoryview(mmap.mmap(self._memory, _DATA + CHUNK))
        self._words = self._bytes[:_WORDS].cast("Q")

    def copies(self) -> list[int]:
        """The descriptors, in the order of COPIES, of which the daemon keeps copies for a successor."""
        return [self._memory, self._in, self._out]

    def adopt(self, copies: Sequence[int]) -> None:
        """Go on with a predecessor's: write what its chunk's log lacks. ``copies`` become ours."""
        if len(copies) != len(COPIES) or os.path.samestat(os.fstat(copies[0]), os.fstat(self._memory)):
            wire.close_all(copies)
            return
        former = self.copies()
        self._hold(copies)
        wire.close_all(former)
        try:
            if self._words[_LABEL_SIZE]:
                self._finish()
        except OSError as error:  # the container is gone, and its log with it
            complain("a predecessor's chunk", error)
        self._discard()

    def take(self, source: int, stream: str, log: Log) -> bytes:
        """The next chunk of a pipe or terminal, to be written by :meth:`deliver`; empty at the source's end.

        Raises ``BlockingIOError`` when there is nothing now, and ``OSError`` as read(2) does.
        """
        label = os.fsencode(f"{stream} {log.max_size} {log.max_files} {log.path}")
        self._words[_LABEL_SIZE] = self._words[_SIZE] = 0
        self._bytes[_LABEL : _LABEL + len(label)] = label
        self._note(0, log.file_number, log.size)
        self._words[_LABEL_SIZE] = len(label)
        try:
            self._words[_SIZE] = taken = os.splice(source, self._in, CHUNK, flags=os.SPLICE_F_NONBLOCK)
            if taken:
                return self._read(0, taken)
        except OSError as error:
            self._discard()
            if error.errno != errno.EINVAL:
                raise
            return os.read(source, CHUNK)  # a terminal, before Linux 5.11
        self._words[_LABEL_SIZE] = 0
        return b""

    def deliver(self, data: bytes, stream: str, log: Log) -> None:
        """Write a chunk that was taken to its log."""
        log.write(stream, data, self._note)
        self._words[_LABEL_SIZE] = 0

    def _finish(self) -> None:
        text = bytes(self._bytes[_LABEL : _LABEL + self._words[_LABEL_SIZE]])
        stream, max_size, max_files, path = os.fsdecode(text).split(" ", 3)
        with closing(Log(path, int(max_size), int(max_files))) as log:
            waiting = array.array("i", [0])
            fcntl.ioctl(self._out, termios.FIONREAD, waiting)
            if not self._words[_SIZE]:
                self._words[_SIZE] = waiting[0]
            data = self._read(self._words[_SIZE] - waiting[0], self._words[_SIZE])
            at = _NOTES[self._words[_NOTE]]
            written, file_number, size = self._words[at : at + 3]
            if file_number == log.file_number:
                written += log.keep_whole_lines(stream, data[written:], size)
            self._note(written, log.file_number, log.size)
            log.write(stream, data[written:], lambda more, *place: self._note(written + more, *place))

    def _discard(self) -> None:
        """Nothing is on its way any more."""
        self._words[_LABEL_SIZE] = 0
        try:
            while True:
                os.read(self._out, CHUNK)
        except BlockingIOError:
            pass

    def _note(self, written: int, file_number: int, size: int) -> None:
        """The log has the first ``written`` bytes, and its newest file, with this inode number, is ``size`` long."""
        other = 1 - self._words[_NOTE]
        at = _NOTES[other]
        self._words[at], self._words[at + 1], self._words[at + 2] = written, file_number, size
        self._words[_NOTE] = other

    def _read(self, begin: int, end: int) -> bytes:
        """The chunk, whose bytes up to ``begin`` are in the memory, and the others up to ``end`` in the pipe.

        One read does not do if the container has made its pipe one of packets (O_DIRECT, pipe(2)).
        """
        while begin < end:
            begin += os.readv(self._out, [self._bytes[_DATA + begin : _DATA + end]])
        return bytes(self._bytes[_DATA : _DATA + end])
