"""``course collect`` and ``course grade`` with a stand-in for the command ``lab`` that does what hostile students would make it do.

The stand-in is a plugin of the tests' own, because a real one does not misbehave when it is asked to.
"""

from __future__ import annotations

import csv
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from elsewhere import Elsewhere
from other_users import User, open_to_group

LAB = '''
"""Submits and grades as the name of the machine says."""

import json, os, sys, time
import click
from pathlib import Path

@click.group()
def lab(): pass

@lab.command()
@click.option("--name")
@click.option("--output")
@click.pass_obj
def submit(context, name, output):
    row = next(row for row in context.client.call("containers.list", {"all": True}) if row["id"] == name)
    what = row["labels"]["what"]
    if what == "fails":
        raise click.ClickException("no \\x1b[2J such thing")
    if what == "link":
        os.symlink("/etc/shadow", output)
    elif what == "pipe":
        os.mkfifo(output)
    elif what == "folder":
        os.mkdir(output)
    else:
        said = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "home": os.environ.get("HOME"),
                "secret": os.environ.get("TEACHERS_SECRET", ""), "student": row["labels"]["multios.lab.student"], "what": what}
        Path(output).write_text(json.dumps(said))

@lab.command()
@click.argument("file")
@click.option("--lab")
@click.option("--format")
def grade(file, lab, format):
    said = json.loads(Path(file).read_text())
    what = said["what"]
    answer = {"student": said["student"], "lab": {"name": "first"}, "points": 2, "most": 3,
              "checks": [{"name": "=cmd|' /C calc'!A0", "reason": "no"}]}
    if what == "other":
        answer["student"] = "s1"
    if what == "much":
        answer["points"] = 99
    if what == "noise":
        answer = "no object"
    if what == "crash":
        sys.exit(3)
    print(json.dumps([answer]))
'''
COURSE = """
schema = 1
name = "judged"
title = "Collected and graded"
version = "1.0"
roster = "students.csv"
[[templates]]
image = "small:1"
command = ["sleep", "1000"]
[[labs]]
path = "labs/first"
"""
WHAT = ("fine", "fine", "fails", "link", "pipe", "folder", "other", "much", "noise", "crash")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """Its Python is where a student may run it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    place = Path(tempfile.mkdtemp(prefix="multios-courses-", dir="/var/tmp"))
    place.chmod(0o755)
    made = Elsewhere(tmp_path_factory.mktemp("engine"), venv=place / "venv")
    made.environment["TEACHERS_SECRET"] = "hunter2"
    made.start()
    made.import_small_image()
    open_to_group(made)
    # The host's database does not say that the student is a member of the tests' group.
    (made.exec_root / "api.sock").chmod(0o666)
    yield made
    made.end()
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def course(engine: Elsewhere) -> Path:
    """A machine for each way to behave; the second student has an account, and one more has no machine."""
    folder = engine.directory / "judged"
    (folder / "labs/first").mkdir(parents=True)
    (folder / "labs/first/lab.toml").write_text("")
    (folder / "course.toml").write_text(COURSE)
    users = {1: "games"}
    rows = [f"s{number},{users.get(number, '')}" for number in range(len(WHAT) + 1)]
    (folder / "students.csv").write_text("\n".join(["id,user", *rows, ""]))
    student = User(engine, "games")
    for number, what in enumerate(WHAT):
        labels = ["multios.lab=first", f"multios.lab.student=s{number}", f"what={what}"]
        words = ["create", *(word for label in labels for word in ("--label", label)), "small:1"]
        (student if number in users else engine).run(*words)
    forged = ["multios.lab=first", "multios.lab.student=s10", "what=fine"]
    student.run("create", *(word for label in forged for word in ("--label", label)), "small:1")
    return folder


def test_without_the_command_it_says_what_to_install(engine: Elsewhere, course: Path) -> None:
    """Before the stand-in is there; multios-labs itself may be."""
    program = (
        "from multios_courses import labs; labs.is_installed = lambda: False; "
        "import sys; from multios.cli.main import main; sys.exit(main())"
    )
    for command in ("collect", "grade"):
        done = subprocess.run(
            engine.python("-c", program, "course", command, str(course)),
            env=engine.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 125 and "pip install multios-labs" in done.stderr


@pytest.fixture(scope="module")
def collected(engine: Elsewhere, course: Path) -> dict[str, dict[str, str]]:
    """The rows of ``course collect`` by student."""
    points = '[project.entry-points."multios.command.v1"]\nlab = "multios_stand_in:lab"'
    engine.install("multios-stand-in", points, LAB)
    done = engine.run("course", "collect", str(course), "--format", "json", status=1)
    assert "missing: s10" in done.stderr and "\x1b" not in done.stderr
    return {row["student"]: row for row in json.loads(done.stdout)}


def test_what_is_there_is_collected_and_who_is_missing_is_named(
    collected: dict[str, dict[str, str]],
) -> None:
    states = {student: row["state"] for student, row in collected.items()}
    assert states == {
        **dict.fromkeys(("s0", "s1", "s6", "s7", "s8", "s9"), "collected"),
        **dict.fromkeys(("s2", "s3", "s4", "s5"), "failed"),
        "s10": "missing",
    }


def test_a_students_machine_is_asked_for_as_that_student_and_without_our_environment(
    collected: dict[str, dict[str, str]],
) -> None:
    account = pwd.getpwnam("games")
    his = json.loads(Path(collected["s1"]["file"]).read_text())
    assert (his["uid"], his["gid"], his["home"]) == (account.pw_uid, account.pw_gid, account.pw_dir)
    assert 0 not in his["groups"] and his["secret"] == ""
    assert json.loads(Path(collected["s0"]["file"]).read_text())["uid"] == 0
    assert Path(collected["s1"]["file"]).stat().st_uid == 0


def test_no_link_pipe_or_folder_is_taken_for_a_submission(collected: dict[str, dict[str, str]]) -> None:
    for student in ("s3", "s4", "s5"):
        folder = Path(collected["s0"]["file"]).parent
        assert not (folder / f"{student}.submission").exists() and collected[student]["problem"]
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_each_is_graded_and_nobody_gets_what_is_not_his(
    engine: Elsewhere, course: Path, collected: dict[str, dict[str, str]]
) -> None:
    output = course / "grades.csv"
    done = engine.run("course", "grade", str(course), "-o", str(output), status=1)
    assert "2 graded, 5 missing, 1 refused, 3 failed" in done.stdout, done
    with output.open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert (rows["s1"]["state"], rows["s1"]["points"], rows["s1"]["most"]) == ("graded", "2", "3")
    assert rows["s1"]["problem"].startswith("'=")
    assert (rows["s6"]["state"], rows["s6"]["points"]) == ("refused", "0")
    assert "99 of 3 points" in rows["s7"]["problem"] and rows["s7"]["points"] == "0"
    assert {rows[student]["state"] for student in ("s7", "s8", "s9")} == {"failed"}
    assert rows["s10"]["state"] == "missing"
