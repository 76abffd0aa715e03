"""Lines of a container's log (kubernetes, CRI logging format): ``TIME STREAM F|P TEXT``."""

from __future__ import annotations

import os

from multios.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from multios.cli.context import Context

CHUNK = 262144


class LogFile:
    """One open file of a log and how far it is read. ``newest`` is the name of the one that is written to."""

    def __init__(self, fd: int, newest: str) -> None:
        self.fd, self._newest = fd, newest
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self._rest = b""

    @property
    def rotated(self) -> bool:
        """Whether it is no more the newest, or removed: nothing is written to it any more."""
        return os.path.basename(os.readlink(f"/proc/self/fd/{self.fd}")) != self._newest

    def lines(self) -> Iterator[bytes]:
        """The whole lines from where reading stopped; half a line waits for its end."""
        while data := os.read(self.fd, CHUNK):
            *whole, self._rest = (self._rest + data).split(b"\n")
            yield from whole

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


class Log:
    """A container's log and how far it is read; ``files`` are open ones of it, oldest first."""

    def __init__(self, context: Context, ref: str, files: Sequence[LogFile] = ()) -> None:
        self._context, self._ref = context, ref
        self._files = list(files)

    def lines(self) -> Iterator[bytes]:
        """The whole lines from where reading stopped, in these files and those that came after them.

        It ends, however fast the log is written: what is rotated while this reads comes with the next call.
        """
        rotated = yield from self._read()
        if rotated and (newer := self._newer()):
            for file in self._files:
                file.close()
            self._files = newer
            yield from self._read()

    def _read(self) -> Generator[bytes, None, bool]:
        """The lines of the open files, of which the last stays open; whether there are newer ones."""
        rotated = True
        while self._files:
            rotated = self._files[0].rotated  # before reading: what was written until then is read
            yield from self._files[0].lines()
            if len(self._files) == 1:
                break
            self._files.pop(0).close()
        return rotated

    def _newer(self) -> list[LogFile]:
        """What came after the last file: nothing between the rename and the new one, or of a container gone."""
        try:
            files = open_log(self._context, self._ref)
        except NotFound:
            return []
        last = self._files[-1].identity if self._files else None
        known = [position for position, file in enumerate(files) if file.identity == last]
        first = known[0] + 1 if known else 0
        for older in files[:first]:
            older.close()
        return files[first:]


def open_log(context: Context, ref: str) -> list[LogFile]:
    """The files of a container's log, oldest first."""
    answers = context.client.request("containers.logs", {"ref": ref})
    descriptors = [descriptor for _, _, some in answers for descriptor in some]
    newest = os.path.basename(answers.result["path"])
    return [LogFile(descriptor, newest) for descriptor in (*descriptors, *answers.fds)]


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


def last_lines(lines: Iterable[bytes], wanted: Wanted, count: int | None) -> list[bytes]:
    """The last ``count`` wanted ones of ``lines``, or all. A line that was written in parts counts once."""
    chosen = [line for line in lines if wanted.has(line)]
    if count is None or count < 0:
        return chosen
    left = count
    for position in range(len(chosen) - 1, -1, -1):
        if chosen[position].split(b" ", 3)[2:3] == [b"F"] or position == len(chosen) - 1:
            left -= 1
            if left < 0:
                return chosen[position + 1 :]
    return chosen
