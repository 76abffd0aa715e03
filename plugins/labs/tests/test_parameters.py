"""Students' own values: the same for one seed, no two alike in a class, nothing in common between seeds."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.errors import InvalidInput, NotFound
from multios_labs.parameters import at, derive, gives, read_roster, size
from multios_labs.records import KINDS, LabParameter

CLASS = tuple(f"student-{number}" for number in range(200))


def parameter(kind: str) -> LabParameter:
    if kind == "port":
        return LabParameter("value", kind, minimum=20_000, maximum=20_199)
    return LabParameter("value", kind, choices=("a", "b", "c"))


def value(one: LabParameter, seed: str, student: str, roster: tuple[str, ...] = ()) -> str:
    return derive((one,), "lab", seed, student, roster)["value"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_always_gives_the_same_value(kind: str) -> None:
    one = parameter(kind)
    for student in CLASS[:5]:
        assert value(one, "s", student) == value(one, "s", student)
        assert value(one, "s", student, CLASS) == value(one, "s", student, tuple(reversed(CLASS)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "choice"])
def test_no_two_students_of_a_class_have_one_value(kind: str) -> None:
    """The ports are exactly as many as the students: every one is given out."""
    one = parameter(kind)
    assert len({value(one, "s", student, CLASS) for student in CLASS}) == len(CLASS)


def test_where_there_are_not_enough_values_they_are_shared() -> None:
    assert {value(parameter("choice"), "s", student, CLASS) for student in CLASS} == {"a", "b", "c"}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_a_parameter_knows_its_own_values(kind: str, data: st.DataObject) -> None:
    one = parameter(kind)
    assert gives(one, at(one, data.draw(st.integers(0, size(one) - 1))))


@pytest.mark.parametrize(
    ("one", "values"),
    [
        (LabParameter("n", "integer", minimum=5, maximum=9), ("4", "10", "x", "", "5.0", "5\n", "٥")),
        (LabParameter("n", "choice", choices=("a",)), ("b", "")),
        (LabParameter("n", "word"), ("amber", "amber-amber", "falcon-amber")),
        (LabParameter("n", "password", length=4), ("abc", "abcde", "abc0")),
        (LabParameter("n", "subnet", pool="10.0.0.0/8"), ("10.0.0.0/16", "11.0.0.0/24", "10.0.0.1/24", "x")),
    ],
)
def test_a_parameter_knows_what_is_none_of_its_values(one: LabParameter, values: tuple[str, ...]) -> None:
    assert not [value for value in values if gives(one, value)]


def test_another_seed_gives_other_values() -> None:
    one = parameter("password")
    assert not {value(one, "s", student) for student in CLASS} & {
        value(one, "t", student) for student in CLASS
    }


def test_who_is_not_in_the_roster_is_told() -> None:
    with pytest.raises(NotFound, match="not in the roster"):
        value(parameter("word"), "s", "student-x", CLASS)


def test_a_roster_has_commas_or_semicolons_as_a_courses(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text("name;id\nLovelace, Ada;s1\nHopper, Grace;s2\n")
    assert read_roster(tmp_path / "roster.csv") == ("s1", "s2")


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 1 << 300), st.integers(8, 30), st.integers(4, 20))
def test_every_number_gives_a_value_within_bounds(kind: str, index: int, prefix: int, length: int) -> None:
    one = LabParameter(
        "value", kind, minimum=-5, maximum=70_000, choices=("x", "y"), length=length, prefix=prefix
    )
    text = at(one, index % size(one))
    if kind in ("integer", "port"):
        assert -5 <= int(text) <= 70_000
    elif kind == "choice":
        assert text in ("x", "y")
    elif kind == "password":
        assert len(text) == length and text.isalnum()
    elif kind == "subnet":
        network = IPv4Network(text)
        assert network.prefixlen == prefix and network.subnet_of(IPv4Network("10.0.0.0/8"))
    else:
        assert text.replace("-", "").isalpha()


@pytest.mark.parametrize(
    ("text", "students"),
    [
        ("ada\nbob\n", ("ada", "bob")),
        ("name,login\nAda L,ada\nBob,bob\n\n", ("ada", "bob")),
        ("\ufeffStudent;x\n", None),
        ("ada\nada\n", None),
        ("student\na/b\n", None),
        ("", None),
    ],
)
def test_a_roster_is_read_or_refused(tmp_path: Path, text: str, students: tuple[str, ...] | None) -> None:
    file = tmp_path / "roster.csv"
    file.write_text(text, encoding="utf-8")
    if students is None and "x" not in text:
        with pytest.raises(InvalidInput, match="roster.csv"):
            read_roster(file)
    elif students is not None:
        assert read_roster(file) == students


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_no_roster_is_an_accident(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("roster") / "roster.csv"
    file.write_bytes(content)
    try:
        assert read_roster(file)
    except InvalidInput:
        pass
