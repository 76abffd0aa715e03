"""Grades: what a judge answers is checked, and what a spreadsheet gets is text."""

from __future__ import annotations

import csv
import datetime
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios_courses.course_file import Lab
from multios_courses.grading import COLUMNS, as_csv, harmless, judged

LAB = Lab("first", Path("/labs/first"), due=datetime.datetime(2026, 10, 8, tzinfo=datetime.UTC))
ANSWER = {
    "student": "s1", "lab": {"name": "first"}, "points": 3, "most": 4, "problems": [], "attested": True,
    "submitted": 1791504000.5, "checks": [{"name": "a", "reason": ""}, {"name": "b", "reason": "exit status 1"}],
}  # fmt: skip


def test_an_answer_becomes_cells() -> None:
    cells = judged([ANSWER], LAB, "s1")
    assert (cells["state"], cells["points"], cells["most"], cells["attested"]) == ("graded", 3, 4, "yes")
    assert cells["late"] == "yes" and cells["submitted"].startswith("2026-10-09")
    assert cells["problem"] == "b: exit status 1"
    assert judged({**ANSWER, "submitted": 1.0}, LAB, "s1")["late"] == ""


def test_what_does_not_count_has_no_points_and_says_why() -> None:
    cells = judged([{**ANSWER, "problems": ["the signature is not valid"]}], LAB, "s1")
    assert (cells["state"], cells["points"]) == ("refused", 0) and "signature" in cells["problem"]


@pytest.mark.parametrize("wrong", [{"student": "s2"}, {"lab": "second"}, {"lab": {"name": "second"}}])
def test_the_work_of_another_student_or_lab_has_no_points(wrong: dict[str, Any]) -> None:
    cells = judged({**ANSWER, **wrong}, LAB, "s1")
    assert (cells["state"], cells["points"]) == ("refused", 0) and "is the work of" in cells["problem"]


@pytest.mark.parametrize(
    "answer",
    [
        None, [], [ANSWER, ANSWER], "x", {}, {"points": 1}, {**ANSWER, "points": True}, {**ANSWER, "points": "3"}, {**ANSWER, "points": -1},
        {**ANSWER, "points": float("nan")}, {**ANSWER, "points": float("inf")}, {**ANSWER, "points": 5},
        {**ANSWER, "points": 1e300, "most": 1e300}, {**ANSWER, "checks": {"a": 1}}, {**ANSWER, "checks": [1]}, {**ANSWER, "problems": "x"},
    ],
)  # fmt: skip
def test_points_that_cannot_be_are_an_error(answer: Any) -> None:
    with pytest.raises(ValueError):
        judged(answer, LAB, "s1")


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(ANSWER)), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(list(ANSWER)), _JSON))
def test_no_answer_breaks_the_table(values: dict[str, Any]) -> None:
    try:
        cells = judged({**ANSWER, **values}, LAB, "s1")
    except ValueError:
        return
    assert 0 <= cells["points"] <= 1e6
    as_csv([cells])


@given(st.text())
def test_no_text_is_a_formula_or_a_second_line(text: str) -> None:
    cell = harmless(text)
    assert cell.lstrip()[:1] not in tuple("=+-@＝＋－＠\t\r") or not cell.strip()  # noqa: RUF001
    assert cell.isprintable()
    written = as_csv([{"student": text, "problem": text, "points": 1}])
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert len(rows) == 2 and len(rows[1]) == len(COLUMNS) and rows[1][COLUMNS.index("points")] == "1"


@pytest.mark.parametrize("text", ["=1+1", "  =HYPERLINK(1)", "\t=1", "@SUM(A1)", "-2+3", "+1", "＝1"])  # noqa: RUF001
def test_a_formula_is_disarmed(text: str) -> None:
    assert harmless(text).startswith("'")
