"""The roster: a CSV file with a line of titles (``id``, ``name``, ``email``, ``user``, ``group``) and a line a student.

What spreadsheets write is taken: UTF-8 with or without a byte order mark, commas or semicolons, any line ends.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from multios.errors import InvalidInput, nearest

LARGEST_ROW = 1 << 10
"""Bytes of a student's line, on average."""
MOST_STUDENTS = 1000
MOST_ON_A_CLUSTER = 10_000
_LONGEST_CELL = 200
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,30}[A-Za-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_GROUP = re.compile(r"[\w .+-]{1,64}")


@dataclass(frozen=True, slots=True)
class Student:
    """A line of the roster. ``user`` is a Unix user of this host, empty where the machine is the teacher's."""

    id: str
    name: str = ""
    email: str = ""
    user: str = ""
    group: str = ""
    line: int = field(default=0, compare=False)
    """Where the roster has it."""


COLUMNS = tuple(item.name for item in fields(Student) if item.compare)
_UNIQUE = ("id", "email", "user")


def load(path: Path, most: int = MOST_STUDENTS) -> tuple[Student, ...]:
    """The students of a file, in its order, ``most`` of them. Raises ``InvalidInput`` that names file and line."""
    try:
        with path.open("rb") as file:
            data = file.read(most * LARGEST_ROW + 1)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", "name the roster: --students FILE.csv") from None
    return parse(data, str(path), most)


def parse(data: bytes, file: str, most: int = MOST_STUDENTS) -> tuple[Student, ...]:
    """The students in ``data``; ``file`` is what errors call it."""
    if len(data) > most * LARGEST_ROW:
        size = f"{most * LARGEST_ROW // 1_000_000} MB"
        raise InvalidInput(f"{file}: it is larger than {size}", "a roster has a short line a student")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{file}:{number}: this is no UTF-8", "save it as “CSV UTF-8”") from None
    rows = _rows(text, file)
    first = next(rows, None)
    if first is None:
        raise InvalidInput(
            f"{file}:1: there is nothing in it", f"the first line names columns: {','.join(COLUMNS)}"
        )
    columns = _columns(first[1], file, first[0])
    found: list[Student] = []
    lines: dict[tuple[str, str], int] = {}
    for number, cells in rows:
        student = _student(columns, cells, file, number)
        _refuse_double(student, lines, file, number)
        found.append(student)
        if len(found) > most:
            raise InvalidInput(f"{file}:{number}: more than {most} students", "split the course")
    if not found:
        raise InvalidInput(f"{file}: there is no student in it", "write a line a student below the titles")
    return tuple(found)


def _rows(text: str, file: str) -> Iterator[tuple[int, Sequence[str]]]:
    """The lines that are not empty: number of the last line that a row covers, and its cells, stripped."""
    if "\0" in text:
        raise InvalidInput(
            f"{file}:{text.count(chr(10), 0, text.index(chr(0))) + 1}: a zero byte", "save it as text"
        )
    titles = text.lstrip("\r\n").splitlines()[:1]
    delimiter = ";" if titles and titles[0].count(";") > titles[0].count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InvalidInput(f"{file}:{max(1, reader.line_num)}: {error}", "check the quotes") from None
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield reader.line_num, stripped


def _columns(titles: Sequence[str], file: str, number: int) -> list[str]:
    columns = [title.lower() for title in titles]
    while columns and not columns[-1]:
        columns.pop()
    for title in columns:
        if "\t" in title:
            raise InvalidInput(
                f"{file}:{number}: its columns are kept apart by tabs",
                "save it with commas or semicolons: CSV",
            )
        if title not in COLUMNS:
            guess = nearest(title, list(COLUMNS))
            remedy = f"did you mean {guess!r}?" if guess else f"columns are {', '.join(COLUMNS)}"
            raise InvalidInput(f"{file}:{number}: no such column: {title[:60]!r}", remedy)
        if columns.count(title) > 1:
            raise InvalidInput(f"{file}:{number}: the column {title!r} is there twice", "leave one out")
    if "id" not in columns:
        raise InvalidInput(f"{file}:{number}: there is no column 'id'", "each student needs an id")
    return columns


def _student(columns: list[str], cells: Sequence[str], file: str, number: int) -> Student:
    while len(cells) > len(columns) and not cells[-1]:
        cells = cells[:-1]
    if len(cells) > len(columns):
        raise InvalidInput(
            f"{file}:{number}: {len(cells)} cells for {len(columns)} columns", "quote what has a comma in it"
        )
    values = dict(zip(columns, cells, strict=False))
    for column, value in values.items():
        if len(value) > _LONGEST_CELL or not value.isprintable():
            raise InvalidInput(
                f"{file}:{number}: {column}: too long, or with control characters",
                f"at most {_LONGEST_CELL} characters on one line",
            )
    for column, pattern, meaning in (
        ("id", _ID, "letters, digits, '_', '.' and '-', at most 32"),
        ("user", _USER, "a user of this host, or nothing"),
        ("group", _GROUP, "a short name, or nothing"),
    ):
        value = values.get(column, "")
        if (value or column == "id") and not pattern.fullmatch(value):
            raise InvalidInput(f"{file}:{number}: {column}: {value!r} is not valid", f"write {meaning}")
    if values.get("user") == "root":
        raise InvalidInput(f"{file}:{number}: user: root is no student", "leave it empty")
    return Student(**values, line=number)


def _refuse_double(student: Student, lines: dict[tuple[str, str], int], file: str, number: int) -> None:
    for column in _UNIQUE:
        value = getattr(student, column)
        if not value:
            continue
        before = lines.setdefault((column, value.casefold()), number)
        if before != number:
            raise InvalidInput(
                f"{file}:{number}: {column}: {value!r} stands in line {before} already",
                "each student has a line, and what is his own in it",
            )
