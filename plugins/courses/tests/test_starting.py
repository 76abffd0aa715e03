"""The queue: bounded, patient with a host that is busy, and interruptible."""

from __future__ import annotations

import _thread
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import pytest

from multios.errors import Conflict, MultiosError, Unavailable
from multios_courses import starting
from multios_courses.starting import Job, News, Queue, connections


class Daemon:
    """Counts who starts at a time; ``answers`` are errors that it raises first, for each machine."""

    def __init__(self, answers: tuple[MultiosError, ...] = (), seconds: float = 0.0) -> None:
        self.answers, self.seconds = answers, seconds
        self.started: list[str] = []
        self.pace: Callable[[], object] = lambda: None
        self.now = self.most = 0
        self.asked: dict[str, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def call(self, method: str, params: dict[str, Any]) -> None:
        ref = params["ref"]
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            count = self.asked[ref] = self.asked.get(ref, 0) + 1
        self.pace()
        time.sleep(self.seconds)
        with self._lock:
            self.now -= 1
            if count <= len(self.answers):
                raise self.answers[count - 1]
            self.started.append(ref)


def queue(daemon: Daemon, count: int, **options: Any) -> tuple[Queue, list[News]]:
    jobs = [Job(f"m{number}", lambda _, number=number: f"m{number}") for number in range(count)]
    heard: list[News] = []
    return Queue(jobs, lambda: daemon, options.pop("tell", heard.append), **options), heard  # type: ignore[arg-type, return-value]


def test_all_are_started_in_turn_and_never_more_at_once_than_there_are_connections() -> None:
    daemon = Daemon(seconds=0.01)
    # All connections are in use at once, however slowly a thread begins.
    three, asked = threading.Barrier(3), itertools.count()

    def pace() -> None:
        if next(asked) < 3:
            three.wait(30)

    daemon.pace = pace
    made, heard = queue(daemon, 30)
    outcome = made.run(3)
    assert sorted(outcome.done) == sorted(daemon.started) and len(outcome.done) == 30
    assert daemon.most == 3 and not outcome.failed and not outcome.left
    assert all(0 <= news.done <= 30 == news.total for news in heard)


def test_the_time_that_is_left_is_told() -> None:
    daemon, told, heard = Daemon(seconds=0.05), threading.Semaphore(), []
    daemon.pace = told.acquire  # none is started before the news of the one before was told

    def tell(news: News) -> None:
        heard.append(news)
        told.release()

    made, _ = queue(daemon, 20, tell=tell)
    outcome = made.run(1)
    guesses = [news.seconds for news in heard if news.seconds is not None]
    assert guesses and 0.1 < guesses[0] <= 19 * outcome.seconds and guesses[-1] < guesses[0]


def test_a_busy_daemon_is_asked_again_and_nobody_sees_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_PAUSE", 0.01)
    busy = (
        Unavailable("user 1 has 256 connections"),
        MultiosError("create container: Resource temporarily unavailable"),
    )
    daemon = Daemon(busy)
    made, _ = queue(daemon, 5)
    assert len(made.run(2).done) == 5 and set(daemon.asked.values()) == {3}


def test_what_is_refused_for_good_is_told_and_the_others_go_on() -> None:
    daemon = Daemon((Conflict("the name is in use"),))
    made, _ = queue(daemon, 3)
    outcome = made.run(1)
    assert [name for name, _ in outcome.failed] == ["m0", "m1", "m2"]
    assert set(daemon.asked.values()) == {1}


def test_it_waits_for_memory_and_says_so() -> None:
    free = [0]
    heard: list[News] = []

    def tell(news: News) -> None:
        heard.append(news)
        if len(heard) == 3:
            free[0] = 1 << 40

    made, _ = queue(Daemon(), 2, tell=tell, memory=lambda: free[0])
    assert len(made.run(1).done) == 2
    assert heard[1].waiting_for == "free memory" and heard[1].done == 0


def test_an_interrupt_ends_it_after_what_is_under_way() -> None:
    daemon = Daemon(seconds=0.05)

    def tell(news: News) -> None:
        if news.done >= 4:
            _thread.interrupt_main()

    made, _ = queue(daemon, 50, tell=tell)

    def pace() -> None:
        while len(daemon.started) >= 6 and not made._stopped:  # what is under way when the interrupt comes
            time.sleep(0.01)

    daemon.pace = pace
    outcome = made.run(2)
    assert outcome.interrupted and 4 <= len(outcome.done) < 10
    assert len(outcome.done) + len(outcome.left) == 50 and daemon.now == 0


def test_connections_follow_processors_and_memory() -> None:
    assert connections(2, 1 << 40) == 4
    assert connections(64, 1 << 40) == 8
    assert connections(2, 0) == 1
    assert connections(2, starting.RESERVE + 2 * starting.MEMORY_OF_A_MACHINE) == 2
    assert starting.free_memory() > 0
