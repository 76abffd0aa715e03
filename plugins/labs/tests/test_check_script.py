"""The checks of a lab as a student's own machine runs them, by the shells that machines have."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.model.course import HOME
from multios_labs import check_script
from multios_labs.document import read
from multios_labs.records import Lab, LabCheck, LabStep

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/labs/first-steps"
SHELLS = [shell for shell in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(shell[0])]
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read(EXAMPLE)


def with_checks(lab: Lab, *checks: LabCheck) -> Lab:
    """A lab whose every step has one of these."""
    return replace(
        lab, steps=tuple(LabStep(f"s{number}", "", checks=(check,)) for number, check in enumerate(checks, 1))
    )


def run(lab: Lab, home: Path, shell: list[str] = SHELLS[0]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, "-c", check_script.script(lab, {"number": "4711"})],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)}, capture_output=True, encoding="utf-8", timeout=30,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_steps_are_checked_to_the_first_that_is_not_done_with_its_hints(
    lab: Lab, tmp_path: Path, shell: list[str]
) -> None:
    made = with_checks(
        lab,
        LabCheck("greeting", ("cat", "hello"), expect="number {{number}}", hint="write {{number}}"),
        LabCheck("program", ("sh", "-c", "echo wrong; exit 3"), hint="it's 'easy'"),
        LabCheck("never", ("touch", "touched")),
    )
    first = run(made, tmp_path, shell)
    assert (first.returncode, first.stdout, first.stderr) == (
        1, "failed  greeting: exit status 1\n        hint: write 4711\nstep s1: not done yet\n", "",
    )  # fmt: skip
    (tmp_path / "hello").write_text("number 47110\n")
    second = run(made, tmp_path, shell)
    assert second.returncode == 1
    assert second.stdout == (
        "ok      greeting\nfailed  program: exit status 3\n        hint: it's 'easy'\nstep s2: not done yet\n"
    )
    assert not (tmp_path / "touched").exists()
    (tmp_path / "hello").write_text("number 4\n")
    assert "greeting: the output is not the expected one" in run(made, tmp_path, shell).stdout
    done = run(with_checks(lab, made.steps[2].checks[0]), tmp_path, shell)
    assert (done.returncode, done.stdout) == (0, "ok      never\nall steps are done\n")
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_command_that_does_not_end_has_failed_when_its_time_is_over(
    lab: Lab, tmp_path: Path, shell: list[str]
) -> None:
    told = run(with_checks(lab, LabCheck("slow", ("sleep", "20"), timeout=1)), tmp_path, shell)
    assert told.returncode == 1
    assert told.stdout.startswith("failed  slow: exit status ")


def test_a_check_reads_nothing_from_the_students_terminal(lab: Lab, tmp_path: Path) -> None:
    assert run(with_checks(lab, LabCheck("reads", ("cat",))), tmp_path).returncode == 0


def test_what_is_below_roots_home_is_in_the_students(lab: Lab) -> None:
    words = (
        "cat",
        "/root/work/x",
        "cd /root && ls",
        "/root",
        "/rooted",
        "/root.txt",
        "/srv/root/x",
        "a/root",
    )
    text = check_script.script(with_checks(lab, LabCheck("paths", words, hint="see /root/work")), {})
    assert (
        f"check paths '' 'see {HOME}/work' 60 cat {HOME}/work/x 'cd {HOME} && ls' {HOME} "
        "/rooted /root.txt /srv/root/x a/root\n"
    ) in text


@settings(max_examples=60, deadline=None)
@given(WORDS, WORDS, st.booleans())
def test_any_text_is_data_and_is_compared_as_it_is(text: str, more: str, ends: bool) -> None:
    made = with_checks(
        read(EXAMPLE),
        LabCheck(f"name {text}", ("printf", "%s", more + text + "\n" * ends), expect=text + "\n" * ends),
    )
    assert run(made, Path("/")).returncode == 0
    other = with_checks(read(EXAMPLE), LabCheck("other", ("printf", "%s", text), expect=text + "."))
    assert run(other, Path("/")).returncode == 1
