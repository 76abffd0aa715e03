"""``lab check`` as a program that a student runs in a machine elsewhere: setups, checks and hints of a lab in POSIX shell.

All of it has the student's rights, so it helps and proves nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from multios.model.course import HOME
from multios_labs.document import filled
from multios_labs.machine import SETUP_SECONDS
from multios_labs.records import Lab, LabStep

_ROOTS_HOME = re.compile(r"(?<![\w./-])/root(?![\w.-])")
_HEAD = """#!/bin/sh
# Checks the step that you are at; when all is right, the next one begins. It needs timeout(1) and nothing else.
cd "${HOME:?}" || exit 2
state=.multios-lab/@NAME@.state
mkdir -p "$state" || exit 2
failed=0

setup() {  # ID COMMAND...: once
    id=$1
    shift
    [ -e "$state/begun-$id" ] && return
    for command; do
        if ! said=$(timeout @SECONDS@ /bin/sh -c "$command" </dev/null 2>&1); then
            printf 'setup: `%s` failed, it may need root: %s\\n' "$command" "$said"
        fi
    done
    : > "$state/begun-$id"
}

todo() {  # ID
    [ ! -e "$state/done-$1" ]
}

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

passed() {  # ID
    [ "$failed" = 0 ] || exit 1
    : > "$state/done-$1"
}

next() {  # TITLE
    printf 'step done; the next one: %s\\n' "$1"
    exit 0
}
"""


def name(lab: Lab) -> str:
    """The file in the student's home."""
    return f"{lab.name}.check"


def script(lab: Lab, values: Mapping[str, str]) -> str:
    """The program. What is below /root on a host is in the student's home here."""
    head = _HEAD.replace("@NAME@", lab.name).replace("@SECONDS@", f"{SETUP_SECONDS:g}")

    def line(*words: str) -> str:
        return shlex.join(_ROOTS_HOME.sub(HOME, filled(word, values)) for word in words)

    def lines() -> Iterator[str]:
        yield line("setup", "lab", *lab.setup)
        for step, following in zip(lab.steps, (*lab.steps[1:], None), strict=True):
            yield f"\nif todo {step.id}; then"
            yield from (f"    {line(*words)}" for words in _calls(step, following))
            yield "fi"
        yield "\necho 'all steps are done'\n"

    return f"{head}\n" + "\n".join(lines())


def _calls(step: LabStep, following: LabStep | None) -> Iterator[tuple[str, ...]]:
    yield "setup", f"step-{step.id}", *step.setup
    for check in step.checks:
        yield "check", check.name, check.expect, check.hint, str(check.timeout), *check.command
    yield "passed", step.id
    if following:
        yield "setup", f"step-{following.id}", *following.setup
        yield "next", following.title
