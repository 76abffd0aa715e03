"""Events on disk: lines of JSON in segments, each named by the number of its first event.

A line is handed to the kernel with one write(2), without waiting for the disk: it survives whatever happens to the
daemon, and of a host that goes down the last seconds may be lost. When a segment is full the next one begins, and the
oldest goes.
"""

from __future__ import annotations

import bisect
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
SEGMENT_BYTES = 1_000_000
"""Some 3000 events."""
SEGMENTS = 4
_NAME = re.compile(r"([0-9]{20})\.jsonl")
_CHUNK = 1 << 16


class EventLog:
    """Append and read. Appending is for one thread at a time; readers may be in any thread."""

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES, segments: int = SEGMENTS) -> None:
        self._directory, self._segment_bytes, self._most = directory, segment_bytes, segments
        directory.mkdir(mode=0o700, exist_ok=True)
        matches = (_NAME.fullmatch(entry.name) for entry in directory.iterdir())
        self._firsts = tuple(sorted(int(match[1]) for match in matches if match)) or (1,)
        self._size, self.last = self._mended(self._firsts[-1])
        self._descriptor = self._opened_to_append(self._firsts[-1])
        self._lost = 0

    def append(self, event: Mapping[str, Any]) -> None:
        """Keep ``event``, whose ``sequence`` is ``last + 1``. A disk that fails costs the event, and the log says so."""
        line = json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            if self._size and self._size + len(line) > self._segment_bytes:
                self._begin_segment(self.last + 1)
            if os.write(self._descriptor, line) < len(line):
                raise OSError("a line was written in part")
            self._size += len(line)
            if self._lost:
                log.error("events are kept again; %d were lost", self._lost)
            self._lost = 0
        except OSError as error:
            self._forget_torn()
            if not self._lost:
                log.error("events cannot be kept in %s: %s", self._directory, error)
            self._lost += 1
        self.last += 1

    def reader(self, after: int = 0) -> Reader:
        """Reads what came after an event, the oldest first."""
        return Reader(self, after)

    def close(self) -> None:
        """Let go of the file; readers go on."""
        os.close(self._descriptor)
        self._descriptor = -1

    # --- for readers ----------------------------------------------------------------------------------

    def first_segment_for(self, sequence: int) -> int:
        """The segment that has an event, or the oldest one where it is kept no longer."""
        firsts = self._firsts
        return firsts[max(0, bisect.bisect_right(firsts, sequence) - 1)]

    def segment_after(self, first: int) -> int | None:
        """The next segment, ``None`` after the one that is being written."""
        firsts = self._firsts
        place = bisect.bisect_right(firsts, first)
        return firsts[place] if place < len(firsts) else None

    def open_segment(self, first: int) -> int:
        """A descriptor, the caller's, to read a segment. Raises ``FileNotFoundError`` when it has been removed."""
        return os.open(self._path(first), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    # --- segments -------------------------------------------------------------------------------------

    def _path(self, first: int) -> Path:
        return self._directory / f"{first:020}.jsonl"

    def _mended(self, first: int) -> tuple[int, int]:
        """The size of the segment that the last daemon has written, without a torn last line, and its last event."""
        try:
            data = self._path(first).read_bytes()
        except FileNotFoundError:
            return 0, first - 1
        size = data.rfind(b"\n") + 1
        if size < len(data):
            os.truncate(self._path(first), size)
        events = (_event(line) for line in reversed(data[:size].splitlines()))
        last = next((event["sequence"] for event in events if event is not None), first - 1)
        return size, max(last, first - 1)

    def _opened_to_append(self, first: int) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._path(first), flags, 0o600)

    def _begin_segment(self, first: int) -> None:
        descriptor = self._opened_to_append(first)
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, 0
        kept = (*self._firsts, first)
        self._firsts = kept[-self._most :]
        for gone in kept[: -self._most]:
            self._path(gone).unlink(missing_ok=True)

    def _forget_torn(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            log.debug("a torn line stays; readers leave it out")


class Reader:
    """Goes on where it stopped. One that is slow still gets all of the segment that it reads, removed or not."""

    def __init__(self, events: EventLog, after: int) -> None:
        self._log, self._after = events, after
        self._segment: int | None = None
        self._descriptor, self._rest = -1, b""

    def fresh(self) -> Iterator[dict[str, Any]]:
        """What has been appended since; ends when there is no more for now."""
        while True:
            # Asked for before reading: a segment that has a next one is not written any more.
            following = self._following()
            if self._descriptor >= 0:
                for event in self._events():
                    if event["sequence"] > self._after:
                        self._after = event["sequence"]
                        yield event
            if following is None:
                return
            self._turn_to(following)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _following(self) -> int | None:
        if self._segment is None:
            return self._log.first_segment_for(self._after + 1)
        return self._log.segment_after(self._segment)

    def _turn_to(self, segment: int) -> None:
        self.close()
        self._segment, self._rest = segment, b""
        try:
            self._descriptor = self._log.open_segment(segment)
        except FileNotFoundError:  # it was the oldest; on to the next
            pass

    def _events(self) -> Iterator[dict[str, Any]]:
        while chunk := os.read(self._descriptor, _CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            yield from (event for line in lines if (event := _event(line)) is not None)


def _event(line: bytes) -> dict[str, Any] | None:
    """The event in a line, ``None`` for a torn one."""
    try:
        event: dict[str, Any] = json.loads(str(line, "ascii"))
    except ValueError:
        return None
    match event:
        case {
            "sequence": int(), "type": str(), "action": str(), "id": str(), "name": str(), "time": int() | float(),
            "attributes": dict(),
        }:  # fmt: skip
            return event
    return None
