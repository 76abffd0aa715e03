"""A course with a lab from beginning to end: machines, work, collecting, grading, wiping, by the real commands of both plugins."""

from __future__ import annotations

import csv
import importlib.util
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from private_engine import PrivateEngine

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("multios_labs") is None, reason="this host has no multios-labs"
)
LAB = """
schema = 1
name = "first"
version = "1.0"
title = "A lab of the tests"
image = "small:1"
network = "none"
submit = ["/root/work"]
setup = ["mkdir -p /root/work"]

[parameters.number]
kind = "integer"
minimum = 100
maximum = 9999

[[steps]]
id = "only"
title = "Write your number"

[[steps.checks]]
name = "the number is there"
command = "cat /root/work/answer"
expect = "{{number}}"
points = 2
"""
COURSE = """
schema = 1
name = "term"
title = "With a lab"
version = "1.0"
roster = "students.csv"
[[templates]]
image = "small:1"
command = ["sleep", "1000"]
[[labs]]
path = "labs/the-first"
"""


@pytest.fixture
def course(engine: PrivateEngine, tmp_path: Path) -> Path:
    lab = tmp_path / "labs/the-first"
    (lab / "text").mkdir(parents=True)
    (lab / "lab.toml").write_text(LAB)
    (lab / "text/only.md").write_text("Write your number into /root/work/answer.\n")
    (tmp_path / "course.toml").write_text(COURSE)
    (tmp_path / "students.csv").write_text("id;name\ns1;Ada\ns2;=Bob()\ns3;Eve\n")
    engine.environment["XDG_DATA_HOME"] = str(tmp_path / "home")
    return tmp_path


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Those of all processes of this host that are met while the block runs, as any user of it reads them."""
    met: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    met.add(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue  # it has ended
            over.wait(0.005)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield met
    finally:
        over.set()
        thread.join()


def test_the_seed_stands_on_no_command_line(
    engine: PrivateEngine, course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, secret = str(course), "a-seed-that-nobody-guesses"
    monkeypatch.setitem(engine.environment, "MULTIOS_LAB_SEED", secret)
    with command_lines() as met:
        engine.run("course", "start", path, "--lab", "first", timeout=200)
        engine.run("course", "collect", path, timeout=200)
        engine.run("course", "grade", path, "-o", str(course / "grades.csv"), timeout=300)
    try:
        for words in ("lab start ", "lab submit ", "lab grade "):
            assert any(words in line for line in met), f"no process of `{words.strip()}` was met"
        assert not [line for line in met if secret in line]
        values = engine.inspect("term-first-s1")["Config"]["Labels"]["multios.lab.values"]
        engine.run("lab", "start", str(course / "labs/the-first"), "--name", "again", "--student", "s1")
        assert engine.inspect("again")["Config"]["Labels"]["multios.lab.values"] == values
    finally:
        engine.run("lab", "rm", "again", status=None)
        engine.run("course", "wipe", "--yes", path)


def test_a_lab_is_given_out_worked_on_collected_graded_and_wiped(engine: PrivateEngine, course: Path) -> None:
    path = str(course)
    engine.run("course", "validate", path)
    assert "3 of 3 machines" in engine.out(
        "course", "start", path, "--lab", "first", "--seed", "secret", timeout=200
    )
    assert "3 ran already" in engine.out("course", "start", path, "--lab", "first", "--seed", "secret")
    values = {
        student: engine.inspect(f"term-first-{student}")["Config"]["Labels"]["multios.lab.values"]
        for student in ("s1", "s2", "s3")
    }
    assert len(set(values.values())) == 3
    number = values["s1"].split('"')[3]
    engine.run("exec", "term-first-s1", "sh", "-c", f"echo {number} > /root/work/answer")
    engine.run("exec", "term-first-s2", "sh", "-c", f"echo {number} > /root/work/answer")
    engine.run("lab", "check", "--name", "term-first-s1")
    assert "3 machines of term stopped" in engine.out("course", "stop", "--time", "1", path)
    assert engine.out("ps", "--quiet") == ""
    assert "3 started" in engine.out("course", "start", path, "--lab", "first")
    rows = {row["student"]: row for row in engine.json("course", "status", path)}
    assert rows["s1"]["labs"] == {"first": "1/1"} and rows["s2"]["labs"] == {"first": "0/1"}
    engine.run("delete", "--force", "term-first-s3")
    assert "2 of 3 collected" in (said := engine.run("course", "collect", path, timeout=200).stderr), said
    assert "missing: s3" in said
    shutil.copy(course / "submissions/first/s1.submission", course / "submissions/first/s3.submission")
    output = course / "grades.csv"
    graded = engine.run("course", "grade", path, "-o", str(output), "--seed", "secret", timeout=300)
    assert "2 graded, 1 refused" in graded.stdout, graded
    with output.open(newline="") as file:
        found = {row["student"]: row for row in csv.DictReader(file)}
    assert [(found[one]["points"], found[one]["most"]) for one in ("s1", "s2", "s3")] == [
        ("2", "2"),
        ("0", "2"),
        ("0", "2"),
    ]
    assert found["s1"]["attested"] == "yes" and found["s2"]["name"] == "'=Bob()"
    assert "the work of student 's1'" in found["s3"]["problem"]
    (course / "submissions/first/s2.submission").write_text("rubbish")
    engine.run("course", "grade", path, "-o", str(output), timeout=300)
    with output.open(newline="") as file:
        (broken,) = [row for row in csv.DictReader(file) if row["student"] == "s2"]
    assert broken["state"] == "refused" and broken["problem"].endswith(
        "an entry is missing, or is no plain file"
    )
    assert "2 lab machines" in engine.out("course", "wipe", "--yes", path)
    assert engine.json("lab", "status") == []
