"""``lab check`` as a program that a student runs in a machine elsewhere: the checks of a lab in POSIX shell, with their hints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from multios.model.course import HOME
from multios_labs.document import filled
from multios_labs.records import Lab, LabStep

_ROOTS_HOME = re.compile(r"(?<![\w./-])/root(?![\w.-])")
_HEAD = """#!/bin/sh
# Checks the steps of the lab in their order, to the first one that is not done. It needs timeout(1) and nothing else.
cd "${HOME:?}" || exit 2
failed=0

check() {  # NAME EXPECT HINT SECONDS COMMAND...
    name=$1 expect=$2 hint=$3 seconds=$4
    shift 4
    if output=$(timeout "$seconds" "$@" </dev/null 2>&1 && printf .); then
        case ${output%.} in  # the dot keeps the newlines before it
            *"$expect"*) printf 'ok      %s\\n' "$name"; return ;;
        esac
        problem='the output is not the expected one'
    else
        problem="exit status $?"
    fi
    failed=1
    printf 'failed  %s: %s\\n' "$name" "$problem"
    [ -z "$hint" ] || printf '        hint: %s\\n' "$hint"
}

after() {  # STEP
    [ "$failed" = 0 ] && return
    printf '%s: not done yet\\n' "$1"
    exit 1
}
"""


def name(lab: Lab) -> str:
    """The file in the student's home."""
    return f"{lab.name}.check"


def script(lab: Lab, values: Mapping[str, str]) -> str:
    """The program. What is below /root on a host is in the student's home here."""
    parts = [_HEAD, *(_of(step, values) for step in lab.steps), "printf '%s\\n' 'all steps are done'\n"]
    return "\n".join(parts)


def _of(step: LabStep, values: Mapping[str, str]) -> str:
    calls = [
        ("check", check.name, check.expect, check.hint, str(check.timeout), *check.command)
        for check in step.checks
    ]
    calls.append(("after", f"step {step.id}"))
    return "".join(shlex.join(_here(word, values) for word in call) + "\n" for call in calls)


def _here(text: str, values: Mapping[str, str]) -> str:
    return _ROOTS_HOME.sub(HOME, filled(text, values))
