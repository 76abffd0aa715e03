"""Checks of a step, run inside the student's machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multios_labs.document import filled
from multios_labs.inside import execute
from multios_labs.machine import Machine
from multios_labs.progress import Progress, StepProgress
from multios_labs.records import LabCheck, LabStep


@dataclass(frozen=True, slots=True)
class Result:
    """``problem`` is empty for a check that has passed."""

    check: LabCheck
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether it did."""
        return not self.problem


def run(socket: str, machine: Machine, step: LabStep) -> list[Result]:
    """Run all of a step's checks, in order."""
    return [_run(socket, machine, check) for check in step.checks]


def _run(socket: str, machine: Machine, check: LabCheck) -> Result:
    command = [filled(word, machine.values) for word in check.command]
    outcome = execute(socket, machine.id, command, check.timeout)
    expected = filled(check.expect, machine.values)
    if outcome.exit_code is None:
        return Result(check, outcome.problem or "how it ended is not known")
    if outcome.exit_code:
        return Result(check, f"exit status {outcome.exit_code}")
    if expected not in outcome.output.decode("utf-8", "replace"):
        return Result(check, "the output is not the expected one")
    return Result(check)


def record(progress: Progress, step: LabStep, results: list[Result]) -> bool:
    """Write down how a check ended; whether the whole step has passed."""
    now = time.time()
    kept = progress.steps.setdefault(step.id, StepProgress(reached=now))
    kept.attempts += 1
    kept.results = [
        {
            "name": one.check.name,
            "passed": one.passed,
            "points": one.check.points if one.passed else 0,
            "time": now,
        }
        for one in results
    ]
    passed = all(one.passed for one in results)
    if passed and not kept.passed:
        kept.passed = now
    progress.save()
    return passed


def hint_of(result: Result, values: Mapping[str, str]) -> str:
    """What helps with a check that failed."""
    return filled(result.check.hint, values)


def as_rows(results: Sequence[Result], values: Mapping[str, str]) -> list[dict[str, Any]]:
    """For programs."""
    return [
        {
            "name": one.check.name,
            "passed": one.passed,
            "problem": one.problem,
            "hint": "" if one.passed else hint_of(one, values),
            "points": one.check.points if one.passed else 0,
        }
        for one in results
    ]


def as_text(results: Sequence[Result], values: Mapping[str, str]) -> str:
    """For people: a line a check, and under one that failed what helps."""
    lines = []
    for row in as_rows(results, values):
        lines.append(f"{'ok    ' if row['passed'] else 'failed'}  {row['name']}")
        lines[-1] += f": {row['problem']}" if row["problem"] else ""
        if row["hint"]:
            lines.append(f"        hint: {row['hint']}")
    return "\n".join(lines)


def points(progress: Progress) -> dict[str, Any]:
    """How many points the last checks came to, as the student's machine says."""
    return {
        name: {
            "reached": step.reached,
            "passed": step.passed,
            "attempts": step.attempts,
            "results": step.results,
        }
        for name, step in progress.steps.items()
    }
