"""Times as users write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.cli.moments import moment, nanoseconds, stamp
from multios.errors import InvalidInput


def test_durations_count_back_from_now() -> None:
    assert abs(time.time() - moment("1h30m", "--since") - 5400) < 5
    assert abs(time.time() - moment("1.5h", "--since") - 5400) < 5


def test_unix_and_iso_times_are_read() -> None:
    assert moment("90", "--since") == 90.0
    assert moment("90.25", "--since") == 90.25
    assert moment("1970-01-01T00:01:00Z", "--since") == 60.0
    assert moment("1970-01-01T02:01:00.5+02:00", "--since") == 60.5
    assert stamp(60_250_000_000) == "1970-01-01T00:01:00.250000000Z"


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_a_time_that_a_log_shows_is_read_back_to_the_nanosecond(when: int) -> None:
    assert nanoseconds(stamp(when), "--since") == when


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "10x", "1.2.3", "nan", "inf", "-5", "2026-01-31T12:00:00.", "2026-13-01", "1.5h3"],
)
def test_what_is_no_time_is_refused_with_the_option(text: str) -> None:
    with pytest.raises(InvalidInput, match="--until"):
        moment(text, "--until")
