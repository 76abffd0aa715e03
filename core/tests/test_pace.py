"""So many a second, some at once, by a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from multios.pace import Pace


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def begun(rate: float, burst: int, count: int) -> list[float]:
    """When each of ``count`` begins."""
    clock = Clock()
    pace, moments = Pace(rate, burst, clock, clock.sleep), []
    for _ in range(count):
        pace.wait()
        moments.append(clock.now)
    return moments


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    assert begun(2, 3, 6) == [0, 0, 0, 0.5, 1.0, 1.5]


def test_without_a_rate_nobody_waits() -> None:
    assert begun(0, 1, 100) == [0] * 100


def test_who_was_idle_may_burst_again_and_not_more() -> None:
    clock = Clock()
    pace = Pace(1, 2, clock, clock.sleep)
    for _ in range(2):
        pace.wait()
    clock.now = 1000.0
    moments = []
    for _ in range(4):
        pace.wait()
        moments.append(clock.now)
    assert moments == [1000, 1000, 1001, 1002]


@given(st.integers(1, 100), st.integers(0, 20), st.integers(1, 60))
def test_never_more_than_the_rate_allows(rate: int, burst: int, count: int) -> None:
    moments = begun(rate, burst, count)
    for first in range(count):
        for last in range(first, count):
            allowed = max(1, burst) + (moments[last] - moments[first]) * rate
            assert last - first + 1 <= allowed + 1e-6
