from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios.model.quantities import (
    format_duration,
    format_size,
    parse_cpus,
    parse_duration,
    parse_size,
    seconds_of,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        (512, 512),
        ("512M", 512 * 2**20),
        ("1GB", 2**30),
        ("1GiB", 2**30),
        ("1gb", 2**30),
        ("1.5k", 1536),
        ("10 GB", 10 * 2**30),
        (" 64b ", 64),
        ("2T", 2**41),
    ],
)
def test_sizes_are_read_as_docker_reads_them(text: str | int, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "value",
    ["", "G", "-1", "1X", "1e9", "0", 0, -5, True, 1.5, None, "٣G", "9" * 30, "8192P", "1.G", "0.1", "1G\n1"],
)
def test_what_is_no_size_is_refused_and_names_the_field(value: object) -> None:
    with pytest.raises(InvalidInput, match="^memory_limit: "):
        parse_size(value, "memory_limit")  # type: ignore[arg-type]


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_every_number_of_bytes_is_itself(size: int) -> None:
    assert parse_size(size) == parse_size(str(size)) == size


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_a_formatted_size_reads_back_within_its_precision(size: int) -> None:
    # One decimal of a value of at least 1: at most 5 % off, and P may run out of 63 bits by rounding.
    text = format_size(size)
    if size < 2**62:
        assert abs(parse_size(text) - size) <= size * 0.05 + 1
    assert len(text) <= 7


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_clear_refusal(text: str) -> None:
    try:
        assert 0 < parse_size(text) < 2**63
    except InvalidInput as error:
        assert error.cause.startswith("size: ")
        assert error.remedy


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0B"), (1023, "1023B"), (1024, "1K"), (1536, "1.5K"), (2**20 - 1, "1M"), (2**31, "2G")],
)
def test_sizes_are_printed_with_the_largest_fitting_unit(size: int, expected: str) -> None:
    assert format_size(size) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2", 2.0), (1.5, 1.5), (1, 1.0), ("50%", 0.5), ("200%", 2.0), (".5", 0.5), ("0.01", 0.01)],
)
def test_cores_and_percentages_of_one_core(text: str | float, expected: float) -> None:
    assert parse_cpus(text) == expected


@pytest.mark.parametrize(
    "value",
    ["", "%", "-1", "two", 0, "0", "0.001", True, None, float("nan"), float("inf"), 10**400, "1e3", "70000"],
)
def test_what_is_no_number_of_cores_is_refused_and_names_the_field(value: object) -> None:
    with pytest.raises(InvalidInput, match="^cpu_limit: "):
        parse_cpus(value)  # type: ignore[arg-type]


@given(st.one_of(st.text(max_size=12), st.floats(), st.integers()))
def test_any_value_is_cores_or_a_clear_refusal(value: str | float) -> None:
    try:
        assert 0.01 <= parse_cpus(value) <= 65536
    except InvalidInput as error:
        assert error.cause.startswith("cpu_limit: ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        ("1h2m3s4ms", 3723.004),
        (".5s", 0.5),
        ("250us", 0.00025),
        ("30", 30.0),
        ("0.25", 0.25),
        (30, 30.0),
        (0.5, 0.5),
        ("0", 0.0),
    ],
)
def test_durations_as_compose_writes_them_and_plain_seconds(value: str | float, expected: float) -> None:
    assert parse_duration(value, "interval", 0.0, 86400.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    "value",
    ["", "s", "-1s", "1 m", "1m 30s", "30x", "1d", "１s", "1e3", "9" * 400 + "s", True, None, []],
)
def test_what_is_no_duration_is_refused_and_names_the_field(value: object) -> None:
    with pytest.raises(InvalidInput, match="^interval: .* is not a duration"):
        parse_duration(value, "interval", 0.0, 86400.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [0, "0s", "999us", "24h1ms", 86401, float("inf"), float("nan"), 10**400, "999999999999999h"]
)
def test_a_duration_out_of_bounds_is_refused_with_the_bounds(value: str | float) -> None:
    with pytest.raises(InvalidInput, match="^interval: .* is out of bounds") as caught:
        parse_duration(value, "interval", 0.001, 86400.0)
    assert caught.value.remedy == "at least 1ms, at most 24h"


@given(st.integers(0, 86_400_000))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    text = format_duration(milliseconds / 1000)
    assert parse_duration(text, "interval", 0.0, 86400.0) == pytest.approx(milliseconds / 1000, abs=1e-9)


@given(st.text("0123456789.hmsunµ ", max_size=20) | st.text(max_size=20))
def test_any_text_is_a_duration_or_a_clear_refusal(text: str) -> None:
    assert (seconds_of(text) or 0.0) >= 0.0
    try:
        assert 0.001 <= parse_duration(text, "interval", 0.001, 86400.0) <= 86400
    except InvalidInput as error:
        assert error.cause.startswith("interval: ") and error.remedy
