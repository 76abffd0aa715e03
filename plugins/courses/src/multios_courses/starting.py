"""``course start``: what is missing is made and started, in turn, by a few connections at once.

A host that is busy makes the queue slower and never an error: who is served waits for memory and for a daemon that has to
be asked again. What has been made stays, whatever happens; the next start goes on from there.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from multios.api.client import Client
from multios.errors import MultiosError, Unavailable

Connect = Callable[[], Client]
MEMORY_OF_A_MACHINE = 16 << 20
"""Bytes that should be free before one more is started: its processes, network and page tables, before any work."""
RESERVE = 64 << 20
"""Bytes that stay with the host."""
PATIENCE = 120.0
"""Seconds for which a daemon that does not answer is asked again."""
_MOST_CONNECTIONS = 8
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_BUSY = ("Resource temporarily unavailable", "Cannot allocate memory", "Device or resource busy")


@dataclass(frozen=True, slots=True)
class Job:
    """A machine that is to run. ``make`` gives its id, made if it is not there; it may be called again when it failed."""

    name: str
    make: Callable[[Client], str]


@dataclass(slots=True)
class Outcome:
    """What came of the jobs. ``left`` are those whose turn did not come."""

    done: list[str] = field(default_factory=list)
    failed: list[tuple[str, MultiosError]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """How far the queue is: ``current`` is at its head; ``seconds`` are those that it will still take, if known."""

    done: int
    total: int
    current: str
    seconds: float | None
    waiting_for: str = ""


def connections(processors: int | None = None, free: int | None = None) -> int:
    """How many machines are made at once: two a processor, as far as memory goes, at least one."""
    count = 2 * (processors or os.cpu_count() or 1)
    room = ((free_memory() if free is None else free) - RESERVE) // MEMORY_OF_A_MACHINE
    return max(1, min(count, _MOST_CONNECTIONS, room))


def free_memory() -> int:
    """Bytes that new processes can have without swapping, as proc(5) estimates them; plenty where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return 1 << 62


class Queue:
    """Runs jobs in turn. ``tell`` hears how far it is, in the caller's thread."""

    def __init__(
        self,
        jobs: Sequence[Job],
        connect: Connect,
        tell: Callable[[News], None],
        memory: Callable[[], int] = free_memory,
    ) -> None:
        self._waiting = deque(jobs)
        self._total = len(jobs)
        self._connect, self._tell, self._memory = connect, tell, memory
        self._changed = threading.Condition()
        self._stopped = False
        self._current = jobs[0].name if jobs else ""
        self._waits: dict[int, str] = {}
        self._outcome = Outcome()
        self._begun = 0.0

    def run(self, workers: int | None = None) -> Outcome:
        """Do all jobs; a keyboard's interrupt ends it after those that are under way."""
        self._begun = time.monotonic()
        threads = [
            threading.Thread(target=self._work, name=f"queue-{number}", daemon=True)
            for number in range(min(workers or connections(), self._total))
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads)
        except KeyboardInterrupt:
            self._outcome.interrupted = True
            self._stop()
            for thread in threads:
                thread.join()
        self._outcome.left = [job.name for job in self._waiting]
        self._outcome.seconds = time.monotonic() - self._begun
        return self._outcome

    def _watch(self, threads: Sequence[threading.Thread]) -> None:
        while any(thread.is_alive() for thread in threads):
            with self._changed:
                self._changed.wait(0.1)
                news = self._news()
            self._tell(news)

    def _news(self) -> News:
        done = len(self._outcome.done) + len(self._outcome.failed)
        spent = time.monotonic() - self._begun
        seconds = spent / done * (self._total - done) if done else None
        waiting_for = next(iter(self._waits.values()), "")
        return News(done, self._total, self._current, seconds, waiting_for)

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _work(self) -> None:
        with self._connect() as client:
            while (job := self._next()) is not None:
                try:
                    self._make(job, client)
                except MultiosError as error:
                    with self._changed:
                        self._outcome.failed.append((job.name, error))
                        self._changed.notify_all()
                else:
                    with self._changed:
                        self._outcome.done.append(job.name)
                        self._changed.notify_all()

    def _next(self) -> Job | None:
        """The job at the head, as soon as there is memory for it; ``None`` when there is none, or no more is wanted."""
        self._wait_for_memory()
        with self._changed:
            if self._stopped or not self._waiting:
                return None
            job = self._waiting.popleft()
            self._current = job.name
            return job

    def _wait_for_memory(self) -> None:
        me = threading.get_ident()
        with self._changed:
            while self._waiting and not self._stopped and self._memory() < RESERVE + MEMORY_OF_A_MACHINE:
                self._waits[me] = "free memory"
                self._changed.wait(_PAUSE)
            self._waits.pop(me, None)

    def _make(self, job: Job, client: Client) -> None:
        """Make and start; a daemon that is busy or away is asked again."""
        pause, deadline = _PAUSE, time.monotonic() + PATIENCE
        while True:
            try:
                client.call("containers.start", {"ref": job.make(client)})
                return
            except MultiosError as error:
                if not _is_busy(error) or self._stopped or time.monotonic() > deadline:
                    raise
            self._pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _pause(self, seconds: float) -> None:
        me = threading.get_ident()
        with self._changed:
            self._waits[me] = "the daemon"
            self._changed.wait_for(lambda: self._stopped, seconds)
            self._waits.pop(me, None)


def _is_busy(error: MultiosError) -> bool:
    return isinstance(error, Unavailable) or any(word in error.cause for word in _BUSY)
