"""The state machine of health probes: what a container's probe is, what results make of its state, when the next is due."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.engine.health_states import RESULTS_KEPT, after, chosen, next_due
from multios.errors import InvalidInput
from multios.model.container import HealthProbe, HealthRequest, HealthState, HealthStatus, ProbeResult
from multios.model.image import Healthcheck, ImageConfig

START = 1000.0
PROBE = HealthProbe(("CMD", "true"), ("true",))
SECONDS = st.floats(0.001, 86400.0)

probes = st.builds(
    HealthProbe,
    st.just(("CMD", "true")),
    st.just(("true",)),
    interval=SECONDS,
    timeout=SECONDS,
    retries=st.integers(1, 6),
    start_period=st.floats(0.0, 100.0),
    start_interval=SECONDS,
)


def result(code: int, at: float = 0.0) -> ProbeResult:
    return ProbeResult(START + at, START + at + 0.1, code, "")


def told(probe: HealthProbe, *results: ProbeResult) -> HealthState:
    state = HealthState()
    for one in results:
        state = after(state, one, probe, START)
    return state


# --- what a result makes of it -------------------------------------------------------------------------


def test_it_is_unhealthy_after_so_many_failures_in_a_row_and_not_before() -> None:
    assert told(PROBE, result(1), result(7)) == HealthState(HealthStatus.STARTING, 2, (result(1), result(7)))
    assert told(PROBE, result(1), result(1), result(-1)).status == HealthStatus.UNHEALTHY
    assert told(PROBE, result(1), result(1), result(0), result(1), result(1)).status == HealthStatus.HEALTHY


def test_one_success_makes_it_healthy_again() -> None:
    state = told(PROBE, *[result(1)] * 9, result(0))
    assert (state.status, state.failing_streak) == (HealthStatus.HEALTHY, 0)


def test_failures_in_the_start_period_do_not_count() -> None:
    probe = replace(PROBE, start_period=10.0, retries=1)
    state = told(probe, result(1, 1.0), result(1, 9.9))
    assert (state.status, state.failing_streak, len(state.log)) == (HealthStatus.STARTING, 0, 2)
    assert told(probe, result(1, 9.9), result(1, 10.0)).status == HealthStatus.UNHEALTHY


def test_the_first_success_ends_the_start_period() -> None:
    probe = replace(PROBE, start_period=10.0, retries=1)
    assert told(probe, result(0, 1.0), result(1, 2.0)).status == HealthStatus.UNHEALTHY


@given(probes, st.lists(st.tuples(st.sampled_from([0, 0, 1, 2, -1]), st.floats(0.0, 200.0)), max_size=40))
def test_streak_status_and_log_follow_from_the_results(
    probe: HealthProbe, history: list[tuple[int, float]]
) -> None:
    results = [result(code, at) for code, at in sorted(history, key=lambda pair: pair[1])]
    state = HealthState()
    for number, one in enumerate(results):
        before, state = state, after(state, one, probe, START)
        assert state.log == tuple(results[: number + 1][-RESULTS_KEPT:])
        if one.exit_code == 0:
            assert (state.status, state.failing_streak) == (HealthStatus.HEALTHY, 0)
        else:
            assert state.failing_streak - before.failing_streak in (0, 1)
        if state.status == HealthStatus.UNHEALTHY:
            assert state.failing_streak >= probe.retries
        if before.status != HealthStatus.STARTING:
            assert state.status != HealthStatus.STARTING  # there is no way back to it
            assert state.failing_streak == (0 if one.exit_code == 0 else before.failing_streak + 1)
    successes = [index for index, one in enumerate(results) if one.exit_code == 0]
    if not successes and all(one.started - START < probe.start_period for one in results):
        assert (state.status, state.failing_streak) == (HealthStatus.STARTING, 0)
    if successes:
        assert state.failing_streak == len(results) - 1 - successes[-1]


# --- when the next is due ----------------------------------------------------------------------------------


def test_the_first_is_due_an_interval_after_the_start_and_the_next_after_the_end_of_the_last() -> None:
    assert next_due(HealthState(), PROBE, START, START) == START + 30
    state = told(PROBE, result(0, 30.0))
    assert next_due(state, PROBE, START, START + 30.1) == pytest.approx(START + 60.1)


def test_within_the_start_period_its_own_interval_counts_until_it_is_healthy() -> None:
    probe = replace(PROBE, start_period=60.0, start_interval=2.0)
    assert next_due(HealthState(), probe, START, START) == START + 2
    assert next_due(told(probe, result(0, 2.0)), probe, START, START + 2.1) == pytest.approx(START + 32.1)
    assert next_due(HealthState(), probe, START, START + 60) == START + 90


def test_who_comes_later_goes_on_in_step() -> None:
    state = told(PROBE, result(0, 29.9))
    assert next_due(state, PROBE, START, START + 50) == pytest.approx(START + 60)
    assert next_due(state, PROBE, START, START + 615) == pytest.approx(START + 630)


def test_a_clock_that_was_set_back_does_not_put_it_off() -> None:
    state = told(PROBE, result(0, 5000.0))
    assert next_due(state, PROBE, START, START + 10) == START + 40


@given(probes, st.lists(st.floats(0.0, 1e6), max_size=3), st.floats(-1e6, 1e7))
def test_the_next_is_always_to_come_and_no_further_than_an_interval_away(
    probe: HealthProbe, ends: list[float], passed: float
) -> None:
    state = told(probe, *(result(1, at) for at in sorted(ends)))
    now = START + passed
    wait = next_due(state, probe, START, now) - now
    assert -1e-6 <= wait <= max(probe.interval, probe.start_interval) + 1e-6


# --- which probe a container has ------------------------------------------------------------------------------


def test_field_by_field_the_request_goes_before_the_image_and_that_before_the_default() -> None:
    image = ImageConfig(healthcheck=Healthcheck(("CMD-SHELL", "a b"), interval=5.0, start_period=60.0))
    probe = chosen(HealthRequest(start_period=0.0, retries=7), image)
    assert probe == HealthProbe(
        ("CMD-SHELL", "a b"), ("/bin/sh", "-c", "a b"), 5.0, 30.0, 7, start_period=0.0, start_interval=5.0
    )
    own = chosen(HealthRequest(("CMD", "x", "y")), image)
    assert own is not None and own.command == ("x", "y") and own.interval == 5.0


def test_a_shell_line_runs_in_the_images_shell() -> None:
    image = ImageConfig(shell=("/bin/ash", "-ec"))
    probe = chosen(HealthRequest(("CMD-SHELL", "a")), image)
    assert probe is not None and probe.command == ("/bin/ash", "-ec", "a")


@pytest.mark.parametrize(
    ("asked", "image"),
    [
        (None, None),
        (HealthRequest(), None),
        (HealthRequest(("NONE",)), Healthcheck(("CMD", "true"))),
        (None, Healthcheck(("NONE",))),
        (None, Healthcheck(("RUN", "true"))),
        (None, Healthcheck(("CMD",))),
        (None, Healthcheck(interval=3.0)),
    ],
)
def test_without_a_test_there_is_no_probe(asked: HealthRequest | None, image: Healthcheck | None) -> None:
    assert chosen(asked, ImageConfig(healthcheck=image)) is None


def test_an_images_times_are_brought_within_bounds() -> None:
    check = Healthcheck(("CMD", "true"), 1e-9, 1e9, 1e9, 1e-9, 10**9)
    probe = chosen(None, ImageConfig(healthcheck=check))
    assert probe is not None
    assert (probe.interval, probe.timeout, probe.retries) == (0.001, 86400.0, 1000)
    assert (probe.start_period, probe.start_interval) == (86400.0, 0.001)


@pytest.mark.parametrize("image", [None, Healthcheck(("NONE",)), Healthcheck(interval=3.0)])
def test_times_of_a_probe_that_there_is_none_of_are_refused(image: Healthcheck | None) -> None:
    with pytest.raises(InvalidInput, match="no test"):
        chosen(HealthRequest(interval=1.0), ImageConfig(healthcheck=image))
