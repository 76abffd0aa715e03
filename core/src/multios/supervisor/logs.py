"""A container's log: lines in the CRI's format, in files that are rotated by size.

A line is ``2026-11-23T10:00:00.000000000Z stdout F text``; ``P`` in place of ``F`` says that the next line of
the same stream goes on where this one stops (kubernetes, CRI logging format).
"""

from __future__ import annotations

import os
import time

from multios.supervisor.complaint import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def stamp() -> bytes:
    """The time now in UTC, with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return b"%s.%09dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode(), nanoseconds)


def lines(stream: str, data: bytes, when: bytes) -> list[bytes]:
    """What ``data``, one chunk of a stream, looks like in the log.

    Nothing is kept for later: text after the last newline becomes a ``P`` line at once, so that no byte
    lives in this process's memory alone.
    """
    head = when + b" " + stream.encode()
    *whole, rest = data.split(b"\n")
    made = [head + b" F " + text + b"\n" for text in whole]
    if rest:
        made.append(head + b" P " + rest + b"\n")
    return made


def _frame(stream: str, when: bytes) -> int:
    """How much longer an ``F`` line of the log is than its line of the stream."""
    return len(when) + len(stream) + len("  F ")


class Log:
    """The files ``path``, ``path.1`` … of one container; ``max_files`` counts the newest one too.

    ``size`` is the newest one's, ``file_number`` its inode's number. A disk that takes no more loses log lines, not
    the container: it is complained about once.
    """

    __slots__ = ("_broken", "_file", "file_number", "max_files", "max_size", "path", "size")

    def __init__(self, path: str, max_size: int, max_files: int) -> None:
        self.path, self.max_size, self.max_files = path, max(1, max_size), max(1, max_files)
        self._broken = False
        self._open()

    def _open(self) -> None:
        mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, mode, 0o640)
        status = os.fstat(self._file)
        self.file_number, self.size = status.st_ino, status.st_size

    def write(
        self, stream: str, data: bytes, note: Callable[[int, int, int], None] = lambda *place: None
    ) -> None:
        """Append a chunk of ``stdout`` or ``stderr``.

        ``note`` is told of each step that succeeds: how many bytes of ``data`` are written, and then
        ``file_number`` and ``size``.
        """
        try:
            batch: list[bytes] = []
            size = written = 0
            when = stamp()
            frame = _frame(stream, when)
            for line in lines(stream, data, when):
                if self.size + size and self.size + size + len(line) > self.max_size:
                    self._append(b"".join(batch))
                    written += size - frame * len(batch)
                    note(written, self.file_number, self.size)
                    self._rotate()
                    note(written, self.file_number, self.size)
                    batch, size = [], 0
                batch.append(line)
                size += len(line)
            self._append(b"".join(batch))
            note(len(data), self.file_number, self.size)
        except OSError as error:
            if not self._broken:
                complain(f"log {self.path}", error)
            self._broken = True

    def keep_whole_lines(self, stream: str, data: bytes, begin: int) -> int:
        """How many bytes of ``data`` the newest file has from ``begin`` on; a last line that is not whole is cut off.

        For one who goes on where another was killed while it wrote ``data``.
        """
        if begin > self.size:
            return 0
        when = stamp()
        frame = _frame(stream, when)
        end, kept = begin, 0
        for line in lines(stream, data, when):
            if end + len(line) > self.size:
                break
            end += len(line)
            kept += len(line) - frame
        os.ftruncate(self._file, end)
        self.size = end
        return min(kept, len(data))  # a P line has a newline of its own

    def _append(self, data: bytes) -> None:
        while data:
            written = os.write(self._file, data)
            self.size += written
            data = data[written:]

    def _rotate(self) -> None:
        """``log.1`` becomes ``log.2`` and so on, the oldest goes, ``log`` becomes ``log.1``."""
        names = [self.path, *(f"{self.path}.{number}" for number in range(1, self.max_files))]
        if len(names) == 1:
            os.unlink(self.path)
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            try:
                os.rename(newer, older)
            except FileNotFoundError:
                continue
        os.close(self._file)
        self._open()

    def settings(self) -> dict[str, str | int]:
        """What :class:`Log` was made with, for whoever goes on writing it."""
        return {"path": self.path, "max_size": self.max_size, "max_files": self.max_files}

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
