"""The checks of a lab as a student's own machine runs them, by the shells that machines have."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
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


def of_steps(lab: Lab, *steps: tuple[tuple[str, ...], LabCheck], setup: tuple[str, ...] = ()) -> Lab:
    """A lab with a step for each of these setups and checks."""
    made = tuple(
        LabStep(f"s{number}", f"Step {number}", setup=commands, checks=(check,))
        for number, (commands, check) in enumerate(steps, 1)
    )
    return replace(lab, setup=setup, steps=made)


def with_check(lab: Lab, check: LabCheck) -> Lab:
    return of_steps(lab, ((), check))


def run(lab: Lab, home: Path, shell: list[str] = SHELLS[0]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, "-c", check_script.script(lab, {"number": "4711"})],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)}, capture_output=True, encoding="utf-8", timeout=30,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_one_step_is_checked_after_the_other_and_what_failed_has_its_hint(
    lab: Lab, tmp_path: Path, shell: list[str]
) -> None:
    made = of_steps(
        lab,
        ((), LabCheck("greeting", ("cat", "hello"), expect="number {{number}}", hint="write {{number}}")),
        ((), LabCheck("program", ("sh", "-c", "test -e done || exit 3"), hint="it's 'easy'")),
    )
    first = run(made, tmp_path, shell)
    assert (first.returncode, first.stdout, first.stderr) == (
        1, "failed  greeting: exit status 1\n        hint: write 4711\n", "",
    )  # fmt: skip
    (tmp_path / "hello").write_text("number 4\n")
    assert "greeting: the output is not the expected one" in run(made, tmp_path, shell).stdout
    (tmp_path / "hello").write_text("number 47110\n")
    second = run(made, tmp_path, shell)
    assert (second.returncode, second.stdout) == (0, "ok      greeting\nstep done; the next one: Step 2\n")
    (tmp_path / "hello").unlink()
    third = run(made, tmp_path, shell)
    assert (third.returncode, third.stdout) == (
        1, "failed  program: exit status 3\n        hint: it's 'easy'\n",
    )  # fmt: skip
    (tmp_path / "done").touch()
    assert run(made, tmp_path, shell).stdout == "ok      program\nall steps are done\n"
    last = run(made, tmp_path, shell)
    assert (last.returncode, last.stdout) == (0, "all steps are done\n")


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_the_setup_of_the_lab_and_of_a_step_is_run_once_when_it_begins(
    lab: Lab, tmp_path: Path, shell: list[str]
) -> None:
    made = of_steps(
        lab,
        (("echo first >> log",), LabCheck("one", ("test", "-e", "one"))),
        (("echo 'second of {{number}}' >> log", "pwd >> log"), LabCheck("two", ("test", "-e", "two"))),
        setup=("mkdir work", "echo lab >> log"),
    )
    for _ in range(2):
        run(made, tmp_path, shell)
        assert (tmp_path / "log").read_text() == "lab\nfirst\n" and (tmp_path / "work").is_dir()
    (tmp_path / "one").touch()
    for _ in range(3):
        run(made, tmp_path, shell)
        assert (tmp_path / "log").read_text() == f"lab\nfirst\nsecond of 4711\n{tmp_path}\n"


def test_a_setup_that_fails_is_said_once_and_the_rest_goes_on(lab: Lab, tmp_path: Path) -> None:
    made = of_steps(
        lab, (("echo no rights; false", "touch rest"), LabCheck("one", ("test", "-e", "rest"))), setup=()
    )
    said = run(made, tmp_path)
    assert said.stdout.startswith("setup: `echo no rights; false` failed, it may need root: no rights\nok ")
    assert "failed" not in run(made, tmp_path).stdout


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_command_that_does_not_end_has_failed_when_its_time_is_over(
    lab: Lab, tmp_path: Path, shell: list[str]
) -> None:
    told = run(with_check(lab, LabCheck("slow", ("sleep", "20"), timeout=1)), tmp_path, shell)
    assert told.returncode == 1
    assert told.stdout.startswith("failed  slow: exit status ")


def test_a_check_reads_nothing_from_the_students_terminal(lab: Lab, tmp_path: Path) -> None:
    assert run(with_check(lab, LabCheck("reads", ("cat",))), tmp_path).returncode == 0


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
    text = check_script.script(with_check(lab, LabCheck("paths", words, hint="see /root/work")), {})
    assert (
        f"check paths '' 'see {HOME}/work' 60 cat {HOME}/work/x 'cd {HOME} && ls' {HOME} "
        "/rooted /root.txt /srv/root/x a/root\n"
    ) in text


@settings(max_examples=60, deadline=None)
@given(WORDS, WORDS, st.booleans())
def test_any_text_is_data_and_is_compared_as_it_is(text: str, more: str, ends: bool) -> None:
    made = with_check(
        read(EXAMPLE),
        LabCheck(f"name {text}", ("printf", "%s", more + text + "\n" * ends), expect=text + "\n" * ends),
    )
    other = with_check(read(EXAMPLE), LabCheck("other", ("printf", "%s", text), expect=text + "."))
    with tempfile.TemporaryDirectory() as home:
        assert run(other, Path(home)).returncode == 1
        assert run(made, Path(home)).returncode == 0
