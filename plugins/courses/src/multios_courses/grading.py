"""``course grade``: each collected submission is judged by the labs' plugin, and a CSV file says what came of it."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from multios.cli.context import Context
from multios.errors import InvalidInput
from multios_courses import labs, validation
from multios_courses.collecting import FOLDER, chosen_labs, file_of
from multios_courses.course_file import Lab
from multios_courses.roster import MOST_ON_A_CLUSTER, Student

GRADE_SECONDS = 1800.0
COLUMNS = (
    "student", "name", "email", "group", "lab", "state", "points", "most", "attested", "signed", "submitted", "late",
    "problem",
)  # fmt: skip
GRADED, MISSING, REFUSED, FAILED = "graded", "missing", "refused", "failed"
_LARGEST_POINTS = 1e6
_LONGEST_CELL = 500
_FORMULA = "=+-@＝＋－＠\t\r"  # noqa: RUF001 the wide ones start a formula, too
Row = dict[str, Any]


def run(
    context: Context,
    path: Path,
    students: Path | None,
    folder: Path | None,
    output: Path,
    lab: str | None,
    seed: str | None,
) -> int:
    """Judge what was collected; 1 when a submission could not be judged."""
    labs.require("grade")
    course, _, roster = validation.load(path, students, MOST_ON_A_CLUSTER)
    place = folder or course.folder / FOLDER
    if not place.is_dir():
        raise InvalidInput(
            f"{place}: there is no such folder", f"multios-container course collect {course.file}"
        )
    pairs = [(one, student) for one in chosen_labs(course, lab) for student in roster]
    context.client.open()
    socket = context.client.path

    def grade(pair: tuple[Lab, Student]) -> Row:
        one, student = pair
        return _graded(socket, one, student, file_of(place, one.name, student.id), seeded)

    with labs.seeded(seed, roster) as seeded, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        rows = list(pool.map(grade, pairs))
    _write(output, rows)
    count = {
        state: sum(row["state"] == state for row in rows) for state in (GRADED, MISSING, REFUSED, FAILED)
    }
    sys.stdout.write(
        f"{output}: {', '.join(f'{number} {state}' for state, number in count.items() if number)}\n"
    )
    for row in rows:
        if row["state"] in (REFUSED, FAILED):
            sys.stderr.write(f"{row['student']}: {row['lab']}: {row['problem']}\n")
    return 1 if count[FAILED] else 0


def _graded(socket: str, lab: Lab, student: Student, file: Path, seeded: labs.Seeded) -> Row:
    row: Row = {
        "student": student.id,
        "name": student.name,
        "email": student.email,
        "group": student.group,
        "lab": lab.name,
        "state": MISSING,
        "points": 0,
    }
    if not file.is_file():
        return row
    words = ["grade", str(file.absolute()), "--lab", str(lab.path), "--format", "json"]
    said = labs.run(
        socket, [*words, *seeded.words], os.geteuid(), file.parent, GRADE_SECONDS, seeded.environment
    )
    if said.status:
        return row | {"state": FAILED, "problem": said.failure().cause}
    try:
        answer = json.loads(said.out)
        return row | judged(answer, lab, student.id)
    except (ValueError, TypeError, RecursionError) as error:
        return row | {
            "state": FAILED,
            "problem": f"`lab grade` answered what cannot be read: {error}"[:_LONGEST_CELL],
        }


def judged(answer: Any, lab: Lab, student: str) -> Row:
    """The cells of one answer. Nobody's points are taken for another's, and none that cannot be. Raises ``ValueError``."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, Mapping):
        raise ValueError("it is not one submission's")
    points, most = _number(answer, "points"), _number(answer, "most")
    if points > most:
        raise ValueError(f"{points:g} of {most:g} points")
    checks, problems = answer.get("checks") or [], answer.get("problems") or []
    if not isinstance(checks, list) or not all(isinstance(check, Mapping) for check in checks):
        raise ValueError("its checks are no list")
    if not isinstance(problems, list):
        raise ValueError("its problems are no list")
    if problem := _not_his(answer, lab, student):
        return {"state": REFUSED, "points": 0, "most": most, "problem": problem}
    submitted = _moment(answer.get("submitted"))
    missed = [f"{check.get('name')}: {check['reason']}" for check in checks if check.get("reason")]
    said = problems or missed
    return {
        "state": REFUSED if problems else GRADED,
        "points": 0 if problems else points,
        "most": most,
        "attested": "yes" if answer.get("attested") is True else "no",
        "signed": str(answer.get("signed") or "")[:_LONGEST_CELL],
        "submitted": submitted.isoformat(timespec="seconds") if submitted else "",
        "late": "yes" if submitted and lab.due and submitted > lab.due else "",
        "problem": "; ".join(map(str, said))[:_LONGEST_CELL],
    }


def _not_his(answer: Mapping[str, Any], lab: Lab, student: str) -> str:
    """Why this is not the student's work on this lab, or nothing. A submission that is none says neither."""
    named = answer.get("lab")
    name = named.get("name") if isinstance(named, Mapping) else named
    for kind, found, wanted in (("student", answer.get("student"), student), ("lab", name, lab.name)):
        if found not in (None, "", wanted):
            return f"this is the work of {kind} {str(found)[:60]!r}"
    return ""


def _number(answer: Mapping[str, Any], key: str) -> float:
    value = answer.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"no number of {key}")
    if not math.isfinite(value) or not 0 <= value <= _LARGEST_POINTS:
        raise ValueError(f"{key}: out of bounds")
    return value


def _moment(value: Any) -> datetime.datetime | None:
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.datetime.fromtimestamp(value, datetime.UTC)
        if isinstance(value, str) and value:
            found = datetime.datetime.fromisoformat(value)
            return found if found.tzinfo else found.astimezone()
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _write(output: Path, rows: list[Row]) -> None:
    """The whole file or none."""
    partial = output.with_name(f".{output.name}.partial")
    try:
        partial.write_text(as_csv(rows), encoding="utf-8")
        partial.rename(output)
    except OSError as error:
        raise InvalidInput(f"{output}: {error.strerror}", "write elsewhere: -o FILE.csv") from None
    finally:
        partial.unlink(missing_ok=True)


def as_csv(rows: list[Row]) -> str:
    """RFC 4180 with a line of titles. No cell of text can be a formula in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([harmless(row.get(column, "")) for column in COLUMNS])
    return out.getvalue()


def harmless(value: Any) -> Any:
    """A cell: numbers as they are; text on one line, with an apostrophe in front where a spreadsheet would compute it."""
    if isinstance(value, (int, float)):
        return f"{value:g}"
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return f"'{text}" if text.lstrip().startswith(tuple(_FORMULA)) else text
