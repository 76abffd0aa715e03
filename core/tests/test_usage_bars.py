"""The line of bars of ``stats``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from multios.cli.usage import bars


def test_a_whole_core_is_a_full_bar_and_nothing_an_empty_one() -> None:
    assert bars([0, 50, 100]) == "▁▅█"


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_there_is_a_bar_for_each_and_more_is_never_lower(values: list[float]) -> None:
    shown = bars(values)
    assert len(shown) == len(values)
    ordered = bars(sorted(values))
    assert sorted(ordered) == list(ordered)
