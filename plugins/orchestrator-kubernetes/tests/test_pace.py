"""The token bucket, with a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from multios_orchestrator_kubernetes.pace import Pace


class Clock:
    """Time goes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(st.floats(0.1, 1000), st.integers(1, 50), st.integers(1, 200))
def test_no_more_than_the_burst_and_the_rate_are_let_through(rate: float, burst: int, count: int) -> None:
    clock = Clock()
    pace = Pace(rate, burst, clock, clock.sleep)
    for _ in range(count):
        pace.take()
    assert clock.now >= (count - burst) / rate - 1e-6
    assert clock.now <= max(0, count - burst) / rate + 1e-6


def test_a_rate_of_zero_is_without_limit() -> None:
    clock = Clock()
    pace = Pace(0.0, 1, clock, clock.sleep)
    for _ in range(100):
        pace.take()
    assert clock.now == 0.0
