"""Judging a submission: each check in a machine of its own, made from the lab's image, without network, within limits.

The order is the defence. The lab's own files and setup come first, then the work; only then something of the student's runs, as
another user than root. A check that is a test of the teacher's has ``private/`` mounted in its machine, and in no other: read-only,
for root alone (0700). What counts is the exit status and the output, seen from outside; whatever the check left is removed
with its machine, so that it can spoil no other check.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from multios.api.client import Client
from multios.errors import InvalidInput, MultiosError, Refused
from multios_labs import submission as submissions
from multios_labs import work
from multios_labs.document import PRIVATE, files_of, filled, read_grading
from multios_labs.inside import Outcome, execute, put, put_archive
from multios_labs.machine import Call, document, rendered, run_setup, texts, values_of
from multios_labs.progress import data_directory
from multios_labs.records import GradeCheck, GradeLimits, Lab
from multios_labs.submission import Submission, Verdict

LABEL = "multios.grade"
MOST_OUTPUT = 64 << 10


@dataclass(frozen=True, slots=True)
class Mark:
    """What a check came to. ``reason`` says why there are no points."""

    name: str
    points: int
    most: int
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Grade:
    """A judged submission. ``problems`` are why nothing in it counts."""

    submission: Submission
    marks: tuple[Mark, ...]
    problems: tuple[str, ...]
    attested: bool
    signed: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        """All points."""
        return sum(mark.points for mark in self.marks)

    @property
    def most(self) -> int:
        """As many there could be."""
        return sum(mark.most for mark in self.marks)


def grade(
    client: Client, call: Call, submission: Submission, lab: Lab, drawn: Mapping[str, str] | None = None
) -> Grade:
    """Judge ``submission`` by the teacher's copy of the lab. ``drawn`` are the values that the course's seed gives."""
    verdict = submissions.verify(client, submission)
    limits, checks = read_grading(lab)
    checks = checks or _of_steps(lab)
    given, wrong = _values(submission, verdict, drawn)
    problems = (*verdict.problems, *_mismatch(submission, lab), *wrong)
    if problems:
        return Grade(submission, _nothing(checks), problems, verdict.engine, verdict.signed)
    with tempfile.TemporaryFile() as archive:
        try:
            with submissions.layer_of(submission) as layer:
                taken = work.write(layer, archive, lab.submit)
        except InvalidInput as error:
            return Grade(submission, _nothing(checks), (error.cause,), verdict.engine, verdict.signed)
        with _tests(lab, given, any(check.test for check in checks)) as tests:
            judge = _Judge(client, call, lab, limits, given, archive, tests)
            marks = tuple(judge.mark(check) for check in checks)
    return Grade(submission, marks, (), verdict.engine, verdict.signed, tuple(taken.left_out))


def _nothing(checks: Sequence[GradeCheck]) -> tuple[Mark, ...]:
    return tuple(Mark(check.name, 0, check.points, "nothing in it counts") for check in checks)


def unreadable(file: Path, error: MultiosError, lab: Lab) -> Grade:
    """The grade of a file that is no submission: it stops nobody else's."""
    _, checks = read_grading(lab)
    nothing = _nothing(checks or _of_steps(lab))
    return Grade(Submission(file, {}, {}, b"", b"", {}), nothing, (error.cause,), False)


def _of_steps(lab: Lab) -> tuple[GradeCheck, ...]:
    """The checks that students see, where the teacher has no others."""
    return tuple(
        GradeCheck(check.name, check.command, expect=check.expect, points=check.points, timeout=check.timeout)
        for step in lab.steps
        for check in step.checks
    )


def _mismatch(submission: Submission, lab: Lab) -> list[str]:
    claimed = submission.manifest.get("lab")
    name = claimed.get("name") if isinstance(claimed, dict) else None
    problems = [] if name == lab.name else [f"it is of lab {str(name)[:60]!r}, not of {lab.name!r}"]
    return problems if lab.submit else [*problems, "the lab takes nothing in: lab.toml has no submit"]


def _values(
    submission: Submission, verdict: Verdict, drawn: Mapping[str, str] | None
) -> tuple[dict[str, str], list[str]]:
    """The student's parameters, and what is wrong with them.

    In a machine that the one who grades has made himself, the values are as he has given them out. Of another's they are what the
    engine saw at the start, or, where there is a seed, what it gives: who makes a machine writes its labels.
    """
    owner = submission.statement.get("owner")
    own = verdict.engine and isinstance(owner, dict) and owner.get("uid") == os.geteuid()
    labels = submission.statement.get("labels")
    given = (
        texts(submission.manifest.get("values"))
        if own
        else values_of(labels if isinstance(labels, dict) else {})
    )
    if drawn is None or own:
        return {**(drawn or {}), **given}, []
    others = [name for name in drawn if given.get(name, drawn[name]) != drawn[name]]
    wrong = f"its values are not those of the seed, or the lab gave others when it was started: {', '.join(others)}"
    return dict(drawn), [wrong] if others else []


@contextmanager
def _tests(lab: Lab, values: Mapping[str, str], wanted: bool) -> Iterator[str]:
    """A folder of the caller's, 0700, with the teacher's tests as this student gets them; empty text when none is ``wanted``.

    It lies with what else is kept of labs: the daemon opens it with the caller's rights, and need not have the caller's /tmp.
    """
    if not wanted:
        yield ""
        return
    above = data_directory()
    above.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.statvfs(above).f_flag & os.ST_NOEXEC:
        raise Refused(f"{above} is mounted noexec, so no test runs from it", "set XDG_DATA_HOME to elsewhere")
    with tempfile.TemporaryDirectory(prefix="grading-", dir=above) as place:
        for inside, path in files_of(lab.folder / PRIVATE, with_private=True):
            target = Path(place, inside)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(_filled(path.read_bytes(), values))
            target.chmod(0o700)
        yield place


class _Judge:
    """``tests`` is the folder of the teacher's tests, where a check has one."""

    def __init__(
        self,
        client: Client,
        call: Call,
        lab: Lab,
        limits: GradeLimits,
        values: Mapping[str, str],
        archive: IO[bytes],
        tests: str,
    ) -> None:
        self._client, self._call, self._lab, self._limits = client, call, lab, limits
        self._values, self._archive = values, archive
        self._tests, self._place = tests, f"/grade-{secrets.token_hex(16)}"

    def mark(self, check: GradeCheck) -> Mark:
        """Judge one check; whatever goes wrong with it costs its points and no others'."""
        begun = time.monotonic()
        with self._machine(check) as name:
            try:
                put_archive(self._client, name, self._archive)
            except MultiosError as error:
                return Mark(check.name, 0, check.points, f"the work does not fit: {error.cause}"[:300])
            try:
                reason = self._judge(name, check)
            except MultiosError as error:
                reason = error.cause
        seconds = round(time.monotonic() - begun, 3)
        return Mark(check.name, 0 if reason else check.points, check.points, reason[:300], seconds)

    @contextmanager
    def _machine(self, check: GradeCheck) -> Iterator[str]:
        """A running machine of the lab's, with all that is the lab's in it, which is gone afterwards."""
        name = f"grade-{secrets.token_hex(8)}"
        config = document(self._lab, name, {LABEL: self._lab.name})
        config["networking"] = {"network": "none"}
        config["restart_policy"] = "no"
        config["resources"] = {
            "memory_limit": self._limits.memory,
            "memory_swap": self._limits.memory,
            "disk_limit": self._limits.disk,
            "cpu_limit": self._limits.cpus,
            "pids_limit": self._limits.pids,
        }
        if check.test:
            config["volumes"] = [{"host": self._tests, "container": self._place, "mode": "ro"}]
            config["user"] = "0:0"  # whom an ordinary teacher's files belong to inside
        seconds = check.timeout + 1
        config["rlimits"] = {"cpu": [seconds, seconds], "core": [0, 0]}
        self._call("containers.create", {"config": config})
        try:
            self._client.call("containers.start", {"ref": name})
            put(self._client, name, rendered(self._lab, self._values))
            run_setup(self._client, name, "the lab", self._lab.setup, self._values)
            yield name
        finally:
            with suppress(MultiosError):
                self._client.call("containers.delete", {"ref": name, "force": True})

    def _judge(self, name: str, check: GradeCheck) -> str:
        """Why there are no points, empty when there are."""
        outcome = self._tested(name, check) if check.test else self._executed(name, check)
        if outcome.exit_code is None:
            return outcome.problem or "how it ended is not known"
        if outcome.exit_code:
            return f"exit status {outcome.exit_code}{_last_line(outcome)}"
        expected = filled(check.expect, self._values)
        written = outcome.output.decode("utf-8", "replace")
        same = written.strip() == expected.strip() if check.exact else expected in written
        return "" if same else f"the output is not the expected one{_last_line(outcome)}"

    def _executed(self, name: str, check: GradeCheck) -> Outcome:
        """A student's program, with a student's rights."""
        place = self._lab.submit[0]
        return execute(
            self._client.path,
            name,
            [filled(word, self._values) for word in check.command],
            check.timeout,
            input=filled(check.input, self._values).encode(),
            user=f"{work.GRADED}:{work.GRADED}",
            directory=place,
            environment={"HOME": place, "WORK": place},
            most=MOST_OUTPUT,
        )

    def _tested(self, name: str, check: GradeCheck) -> Outcome:
        """A test of the teacher's, as root, from the mount that only root can look into."""
        return execute(
            self._client.path,
            name,
            [f"{self._place}/{check.test}"],
            check.timeout,
            input=filled(check.input, self._values).encode(),
            user="0:0",
            directory="/",
            environment={"WORK": self._lab.submit[0], "GRADE": self._place},
            most=MOST_OUTPUT,
        )


def _filled(data: bytes, values: Mapping[str, str]) -> bytes:
    try:
        return filled(data.decode(), values).encode() if b"{{" in data else data
    except UnicodeDecodeError:
        return data


def _last_line(outcome: Outcome) -> str:
    lines = outcome.text().strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""


# --- for people and programs --------------------------------------------------------------------------------


def as_csv(grades: Sequence[Grade]) -> str:
    """A row a submission, a column a check."""
    names = list(dict.fromkeys(mark.name for one in grades for mark in one.marks))
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(
        [
            "student",
            "user",
            "points",
            "most",
            "attested",
            "signed",
            "submitted",
            "file",
            "problems",
            *map(_cell, names),
        ]
    )
    for one in grades:
        points = {mark.name: mark.points for mark in one.marks}
        writer.writerow(
            [
                _cell(one.submission.student),
                _cell(one.submission.user),
                one.points,
                one.most,
                "yes" if one.attested else "no",
                one.signed,
                _moment(one.submission.manifest.get("submitted")),
                _cell(str(one.submission.file)),
                _cell("; ".join(one.problems)),
                *(points.get(name, "") for name in names),
            ]
        )
    return target.getvalue()


def _moment(value: Any) -> str:
    """A moment as ISO 8601 in UTC; nothing for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        return ""
    return datetime.datetime.fromtimestamp(value, datetime.UTC).isoformat(timespec="seconds")


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[:300])
    return f"'{plain}" if plain[:1] in ("=", "+", "-", "@") else plain


def as_json(grades: Sequence[Grade]) -> str:
    """All that is known."""
    return json.dumps([_row(one) for one in grades], indent=2)


def _row(one: Grade) -> dict[str, Any]:
    return {
        "file": str(one.submission.file),
        "student": one.submission.student,
        "user": one.submission.user,
        "lab": one.submission.manifest.get("lab"),
        "submitted": one.submission.manifest.get("submitted"),
        "attested": one.attested,
        "signed": one.signed,
        "problems": list(one.problems),
        "points": one.points,
        "most": one.most,
        "checks": [{key: getattr(mark, key) for key in Mark.__slots__} for mark in one.marks],
        "left_out": list(one.left_out),
    }
