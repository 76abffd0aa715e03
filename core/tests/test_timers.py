"""One thread for everything that is due some time later."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from multios.engine.timers import Timers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=300))
def test_all_that_is_due_is_called_in_order_but_what_was_cancelled(plan: list[tuple[int, bool]]) -> None:
    clock, called = Clock(), []
    timers = Timers(clock)
    made = [
        (timers.after(seconds, lambda number=number: called.append(number)), cancelled)  # type: ignore[misc]
        for number, (seconds, cancelled) in enumerate(plan)
    ]
    for timer, cancelled in made:
        if cancelled:
            timers.cancel(timer)
    wanted = sorted((seconds, number) for number, (seconds, cancelled) in enumerate(plan) if not cancelled)
    for moment in range(51):
        clock.now = float(moment)
        left = timers.call_due()
        assert called == [number for seconds, number in wanted if seconds <= moment]
        assert left is None or left > 0
    assert timers.call_due() is None


def test_cancelled_ones_do_not_pile_up() -> None:
    timers = Timers(Clock())
    for _ in range(10_000):
        timers.cancel(timers.after(86400.0, lambda: None))
    assert len(timers._heap) < 200


def test_one_that_has_been_called_can_be_cancelled_and_a_failure_stops_nothing() -> None:
    clock, called = Clock(), []
    timers = Timers(clock)
    failing = timers.after(0.0, lambda: 1 / 0)
    timers.after(0.0, lambda: called.append(1))
    timers.call_due()
    timers.cancel(failing)
    assert called == [1]


def test_what_is_due_sooner_wakes_the_thread() -> None:
    timers, called = Timers(), threading.Event()
    timers.begin()
    try:
        timers.after(60.0, lambda: None)
        timers.after(0.01, called.set)
        assert called.wait(10)
    finally:
        timers.close()
