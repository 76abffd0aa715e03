"""Lines of a container's log (kubernetes, CRI logging format): ``TIME STREAM F|P TEXT``."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 262144


class LogFile:
    """One open file of a log and how far it is read. ``name`` changes when it is rotated."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self._first_name = self.name
        self._rest = b""

    @property
    def name(self) -> str:
        """The file's path now, as the kernel knows it."""
        return os.readlink(f"/proc/self/fd/{self.fd}")

    @property
    def rotated(self) -> bool:
        """Whether it was renamed or removed since it was opened: nothing is written to it any more."""
        return self.name != self._first_name

    def lines(self) -> Iterator[bytes]:
        """The whole lines from where reading stopped; half a line waits for its end."""
        while data := os.read(self.fd, CHUNK):
            *whole, self._rest = (self._rest + data).split(b"\n")
            yield from whole

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


class Wanted:
    """Which lines, and how they are shown. ``since`` and ``until`` are times as the log writes them."""

    def __init__(self, since: str = "", until: str = "", timestamps: bool = False) -> None:
        self.since = since.encode()
        self.until = until.encode()
        self._timestamps = timestamps
        self._partial: set[bytes] = set()

    def has(self, line: bytes) -> bool:
        """Whether the line's time is wanted; times of one form sort as text."""
        when = line[: line.find(b" ")]
        return (not self.since or when >= self.since) and (not self.until or when <= self.until)

    def show(self, line: bytes) -> tuple[int, bytes]:
        """The descriptor a line goes to, and what is written there."""
        parts = line.split(b" ", 3)
        if len(parts) != 4:
            return 1, line + b"\n"
        when, stream, kind, text = parts
        prefix = when + b" " if self._timestamps and stream not in self._partial else b""
        if kind == b"P":
            self._partial.add(stream)
        else:
            self._partial.discard(stream)
            text += b"\n"
        return (2 if stream == b"stderr" else 1), prefix + text


def last_lines(files: list[LogFile], wanted: Wanted, count: int | None) -> list[bytes]:
    """The last ``count`` wanted lines of ``files`` (oldest first), or all; every file is read to its end.

    A line that was written in parts counts once.
    """
    lines = [line for file in files for line in file.lines() if wanted.has(line)]
    if count is None or count < 0:
        return lines
    left = count
    for position in range(len(lines) - 1, -1, -1):
        if lines[position].split(b" ", 3)[2:3] == [b"F"] or position == len(lines) - 1:
            left -= 1
            if left < 0:
                return lines[position + 1 :]
    return lines
