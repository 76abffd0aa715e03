"""Rosters: what spreadsheets write is taken; everything else is refused with its line."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios_courses.roster import MOST_STUDENTS, Student, parse

TEXT = 'id,name,email,user,group\ns1,"Lovelace, Ada",ada@example.org,ada,A\ns2,Грейс Хоппер,grace@example.org,,B\n'
STUDENTS = (
    Student("s1", "Lovelace, Ada", "ada@example.org", "ada", "A"),
    Student("s2", "Грейс Хоппер", "grace@example.org", "", "B"),
)


def refusal(text: str | bytes) -> str:
    with pytest.raises(InvalidInput) as refused:
        parse(text.encode() if isinstance(text, str) else text, "r.csv")
    assert refused.value.remedy
    return refused.value.cause


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_what_spreadsheets_write_is_read(mark: str, end: str, delimiter: str) -> None:
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator=end)
    writer.writerows(csv.reader(io.StringIO(TEXT)))
    assert parse((mark + written.getvalue()).encode(), "r.csv") == STUDENTS


def test_columns_come_in_any_order_and_empty_lines_and_cells_are_nothing() -> None:
    assert parse(b"\nName , ID,,\n\nAda,s1,,\n,s2\n,,\n", "r.csv") == (
        Student("s1", "Ada"),
        Student("s2"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "r.csv:1: there is nothing"),
        ("name\nAda\n", "r.csv:1: there is no column 'id'"),
        ("id,nmae\ns1,Ada\n", "r.csv:1: no such column: 'nmae'"),
        ("id,id\ns1,s1\n", "r.csv:1: the column 'id' is there twice"),
        ("id\n", "there is no student"),
        ("id,name\ns1,Ada\ns1,Bob\n", "r.csv:3: id: 's1' stands in line 2 already"),
        ("id\ns1\n\nS1\n", "r.csv:4: id: 'S1' stands in line 2 already"),
        ("id,user\na,games\nb,games\n", "r.csv:3: user: 'games' stands in line 2"),
        ("id,user\na,root\n", "r.csv:2: user: root"),
        ("id,user\na,../x\n", "r.csv:2: user:"),
        ("id\n../../etc\n", "r.csv:2: id:"),
        ("id\n-rf\n", "r.csv:2: id:"),
        ("id\na b\n", "r.csv:2: id:"),
        (f"id\n{'a' * 33}\n", "r.csv:2: id:"),
        ("id,name\na,b,c\n", "r.csv:2: 3 cells for 2 columns"),
        ('id,name\na,"open\n', "r.csv:2: "),
        ("id,name\na,\x1b[2J\n", "r.csv:2: name:"),
        (f"id,name\na,{'x' * 201}\n", "r.csv:2: name:"),
        ("id\na\0b\n", "r.csv:2: a zero byte"),
        (b"id,name\ns1,Jos\xe9\n", "r.csv:2: this is no UTF-8"),
        (b"id\n" + b"x" * (1 << 21), "larger than 1 MB"),
        ("id\n" + "".join(f"s{n}\n" for n in range(MOST_STUDENTS + 1)), "more than 1000 students"),
    ],
)
def test_a_refusal_names_the_line(text: str | bytes, words: str) -> None:
    assert words in refusal(text)


_IDS = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,30}[A-Za-z0-9])?", fullmatch=True)
_NAMES = st.text(max_size=40).map(str.strip).filter(str.isprintable)


@given(
    st.lists(st.tuples(_IDS, _NAMES), min_size=1, unique_by=lambda row: row[0].casefold()),
    st.sampled_from(",;"),
    st.booleans(),
)
def test_every_roster_that_is_written_well_is_read_back(
    rows: list[tuple[str, str]], delimiter: str, mark: bool
) -> None:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter).writerows([("id", "name"), *rows])
    data = ("\ufeff" * mark + written.getvalue()).encode()
    assert [(student.id, student.name) for student in parse(data, "r.csv")] == rows


@given(st.binary(max_size=300))
def test_no_bytes_are_answered_with_anything_but_students_or_a_refusal(data: bytes) -> None:
    for whole in (data, b"id,name,user\n" + data):
        try:
            students = parse(whole, "r.csv")
        except InvalidInput as error:
            assert error.cause.startswith("r.csv")
        else:
            assert students and len({student.id.casefold() for student in students}) == len(students)


def test_columns_that_tabs_keep_apart_are_refused_with_what_to_do() -> None:
    assert refusal(b"id\tname\ns1\tAda\n") == "r.csv:1: its columns are kept apart by tabs"
