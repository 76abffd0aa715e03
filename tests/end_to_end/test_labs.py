"""Labs through the command line: from start to the last check, back again, and what is wrong with a lab."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from private_engine import PrivateEngine

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/labs/first-steps"


@pytest.fixture(scope="module")
def engine(
    make_engine: Callable[..., PrivateEngine], tmp_path_factory: pytest.TempPathFactory
) -> PrivateEngine:
    return make_engine({"XDG_DATA_HOME": str(tmp_path_factory.mktemp("data"))})


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """The example, on the small image."""
    folder = tmp_path / "lab"
    shutil.copytree(EXAMPLE, folder)
    change(folder, 'image = "debian:12"', 'image = "small:1"')
    return folder


def change(folder: Path, old: str, new: str, file: str = "lab.toml") -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


@pytest.fixture
def started(engine: PrivateEngine, lab: Path) -> Iterator[str]:
    engine.run("lab", "start", str(lab), "--name", "ada-lab", "--student", "ada", "--seed", "autumn")
    yield "ada-lab"
    engine.run("lab", "rm", "ada-lab", status=None)


def values(engine: PrivateEngine, name: str) -> dict[str, str]:
    labels = engine.inspect(name)["Config"]["Labels"]
    found: dict[str, str] = json.loads(labels["multios.lab.values"])
    return found


def sh(engine: PrivateEngine, name: str, command: str) -> str:
    return engine.out("exec", name, "sh", "-c", command)


def solve_first(engine: PrivateEngine, name: str) -> None:
    mine = values(engine, name)
    sh(engine, name, f"echo {mine['number']} > /root/work/{mine['codename']}")


def test_the_example_is_a_valid_lab(engine: PrivateEngine) -> None:
    assert "first-steps 1.0: 2 steps, 3 checks, 3 for grading" in engine.out("lab", "validate", str(EXAMPLE))


def test_a_lab_from_its_start_to_its_last_check(engine: PrivateEngine, started: str) -> None:
    mine = values(engine, started)
    text = engine.out("lab", "show")
    assert mine["codename"] in text and mine["number"] in text and "{{" not in text
    assert mine["codename"] in sh(engine, started, "cat /root/work/README.txt")
    told = json.loads(engine.run("lab", "check", "--format", "json", status=1).stdout)
    assert (told["step"], told["passed"], told["next"]) == ("files", False, "")
    assert told["checks"][0]["problem"] == "exit status 1" and told["checks"][0]["hint"]
    failed = engine.run("lab", "check", status=1)
    assert "failed  there is a file with your code name: exit status 1" in failed.stdout
    assert f"hint: echo {mine['number']} > /root/work/{mine['codename']}" in failed.stdout
    solve_first(engine, started)
    assert "Next: A program that adds" in engine.out("lab", "check")
    assert "not yet" in sh(engine, started, "cat /root/work/sum.sh")  # the second step's setup
    assert "sum: 5" in engine.out("lab", "show")
    engine.run("lab", "check", status=1)
    sh(engine, started, "echo 'echo sum: $(($1 + $2))' > /root/work/sum.sh")
    assert "All steps are done" in engine.out("lab", "check", "program")
    (row,) = json.loads(engine.out("lab", "status", "--format", "json"))
    assert (row["passed"], row["steps"], row["student"]) == (2, 2, "ada")


def test_the_same_seed_gives_the_same_machine(engine: PrivateEngine, lab: Path, started: str) -> None:
    other = ("lab", "start", str(lab), "--student", "ada", "--name")
    engine.run(*other, "again", "--seed", "autumn")
    engine.run(*other, "another", "--seed", "spring")
    try:
        assert values(engine, "again") == values(engine, started) != values(engine, "another")
        assert "say which one" in engine.run("lab", "show", status=125).stderr
    finally:
        engine.run("lab", "rm", "again")
        engine.run("lab", "rm", "another")


def test_a_reset_brings_files_and_step_back(engine: PrivateEngine, started: str) -> None:
    solve_first(engine, started)
    engine.run("lab", "check")
    sh(engine, started, "rm -rf /root/work /etc/greeting; echo x > /root/mine")
    assert engine.out("lab", "reset", "--to", "program") == f"{started} is at step program"
    assert "not yet" in sh(engine, started, "cat /root/work/sum.sh; ls /etc/greeting")
    sh(engine, started, "rm /etc/greeting; echo x > /root/mine")
    assert engine.out("lab", "reset", "--soft") == f"{started} is at step program"
    assert sh(engine, started, "cat /root/mine /etc/greeting") == "x\nhello"
    assert engine.out("lab", "reset") == f"{started} is at step files"
    assert sh(engine, started, "ls /root/mine 2>/dev/null; cat /root/work/sum.sh | wc -l") == "2"
    assert "code name is" in engine.out("lab", "show")


def test_a_snapshot_of_ones_own_is_gone_back_to(engine: PrivateEngine, started: str) -> None:
    sh(engine, started, "echo one > /root/mine")
    assert "reset --to mine ada-lab" in engine.out("lab", "snapshot", "mine")
    sh(engine, started, "echo two > /root/mine")
    engine.run("reset", "--to", "mine", started)
    assert sh(engine, started, "cat /root/mine") == "one"


def test_a_stopped_lab_is_started_again(engine: PrivateEngine, started: str) -> None:
    begun = time.monotonic()
    engine.run("lab", "stop")
    assert time.monotonic() - begun < 8  # it heeds the signal
    assert engine.status_of(started) == "exited"
    assert engine.out("lab", "start", started) == started
    assert engine.status_of(started) == "running"


def test_a_setup_that_fails_leaves_nothing(engine: PrivateEngine, lab: Path) -> None:
    change(lab, "mkdir -p /root/work", "echo cannot go on >&2; exit 3")
    data = Path(engine.environment["XDG_DATA_HOME"]) / "multios/labs"
    before = sorted(data.glob("*")) if data.exists() else []
    said = engine.run("lab", "start", str(lab), "--name", "broken", status=125).stderr
    assert "setup of the lab" in said and "cannot go on" in said and "Traceback" not in said
    engine.run("inspect", "broken", status=125)
    assert (sorted(data.glob("*")) if data.exists() else []) == before


def test_a_check_that_never_ends_fails_in_time(engine: PrivateEngine, lab: Path) -> None:
    change(lab, 'command = "test -f /root/work/{{codename}}"', 'command = "sleep 1000"\ntimeout = 1')
    engine.run("lab", "start", str(lab), "--name", "slow")
    try:
        begun = time.monotonic()
        assert "did not end in 1 s" in engine.run("lab", "check", "--name", "slow", status=1).stdout
        assert time.monotonic() - begun < 10
    finally:
        engine.run("lab", "rm", "slow")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema = 1", "schema = 2", r"lab.toml, line 1: schema: must be 1"),
        ('version = "1.0"', 'versoin = "1.0"', r"line 3: versoin: no such key\n.*did you mean 'version'"),
        ('kind = "word"', 'kind = "wrod"', r"parameters.codename.kind: 'wrod' is no kind\n.*'word'"),
        ("minimum = 100", "minimum = 10000", r"line 20: parameters.number.minimum: is more than maximum"),
        ('source = "files/sum.sh"', 'source = "../sum.sh"', r"files\[1\].source: .*does not lie in the lab"),
        ('source = "files/sum.sh"', 'source = "private/grade.toml"', r"files\[1\].source: .*\n.*not of private"),
        ('target = "/root/work/sum.sh"', 'target = "work"', r"files\[1\].target: 'work' is no plain absolute"),
        ('id = "program"', 'id = "files"', r"steps\[1\].id: 'files' is there twice"),
        ("/root/work/{{codename}}\"\nhint", "{{codname}}\"\nhint", r"\{\{codname\}\}: no such parameter\n.*'codename'"),
        ("points = 2", 'points = "2"', r"steps\[1\].checks\[0\].points: '2' is no number"),
        ('submit = ["/root/work"]', 'submit = ["/bin"]', r"submit\[0\]: '/bin' is a part of the system"),
        ('submit = ["/root/work"]', 'submit = ["/root/../etc"]', r"no plain absolute path"),
        ('image = "small:1"', "image = ", r"lab.toml: .*line 5"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_lab_is_said_with_file_key_and_line(
    engine: PrivateEngine, lab: Path, old: str, new: str, says: str
) -> None:
    change(lab, old, new)
    said = engine.run("lab", "validate", str(lab), status=125).stderr
    assert re.search(says, said), said
    assert "Traceback" not in said


def test_bad_requests_are_one_line_of_cause_and_one_of_remedy(
    engine: PrivateEngine, lab: Path, started: str, tmp_path: Path
) -> None:
    roster = tmp_path / "roster.csv"
    roster.write_text("student,name\nada,A\nbob,B\nada,C\n")
    for words, says in (
        (("lab", "start", str(tmp_path / "nothing")), "is no lab"),
        (("lab", "start", str(lab), "--student", "a/b"), "no student's id"),
        (
            ("lab", "start", str(lab), "--roster", str(roster), "--student", "ada"),
            "line 4: student 'ada' is in line 2 too",
        ),
        (("lab", "show", "--name", "nobody"), "no such lab"),
        (("lab", "chekc"), "no such command"),
        (("lab", "check", "nosuch", "--name", started), "steps: files, program"),
        (("lab", "reset", "--to", "nosuch", "--name", started), "steps: files, program"),
    ):
        said = engine.run(*words, status=125).stderr
        assert says in said and "Traceback" not in said and said.count("\n") <= 2, said


# --- corrections ------------------------------------------------------------------------------------------


def files_table(lab: Path, *names: str) -> None:
    """Give the lab these files, each with its name as its content."""
    text = (lab / "lab.toml").read_text()
    for name in names:
        (lab / "files" / name).write_text(f"first {name} of {{{{codename}}}}\n")
        text += f'\n[[files]]\nsource = "files/{name}"\ntarget = "/root/work/{name}"\n'
    (lab / "lab.toml").write_text(text)


def test_a_corrected_lab_keeps_the_students_work(engine: PrivateEngine, lab: Path) -> None:
    files_table(lab, "untouched", "mine", "both", "deleted", "going", "going-but-mine")
    engine.run("lab", "start", str(lab), "--name", "upd")
    mine = values(engine, "upd")["codename"]
    try:
        sh(
            engine,
            "upd",
            "cd /root/work; for f in mine both going-but-mine; do echo student > $f; done; rm deleted",
        )
        sh(engine, "upd", "mkdir /root/work/dir")
        for name in ("untouched", "both", "deleted"):
            (lab / "files" / name).write_text("second {{codename}}\n")
        for name in ("going", "going-but-mine"):
            change(lab, f'\n[[files]]\nsource = "files/{name}"\ntarget = "/root/work/{name}"\n', "")
        change(lab, 'version = "1.0"', 'version = "1.1"')
        files_table(lab, "added", "dir")
        change(lab, 'title = "A file of your own"', 'title = "Another title"')
        said = engine.out("lab", "update", str(lab), "--name", "upd").splitlines()
        assert said == [
            "updated   /root/work/untouched",
            "KEPT      /root/work/both: you have changed it; the corrected one is /root/work/both.new",
            "KEPT      /root/work/deleted: you have changed it; the corrected one is /root/work/deleted.new",
            "new       /root/work/added",
            "KEPT      /root/work/dir: you have changed it; the corrected one is /root/work/dir.new",
            "removed   /root/work/going",
            "upd is at first-steps 1.1",
        ]
        shown = sh(
            engine,
            "upd",
            "cd /root/work; cat untouched mine both both.new deleted.new going-but-mine; ls going deleted 2>&1 | wc -l",
        )
        assert shown.splitlines() == [
            f"second {mine}", "student", "student", f"second {mine}", f"second {mine}", "student", "2",
        ]  # fmt: skip
        assert "Another title" in engine.out("lab", "show", "--name", "upd")
        # The same again changes nothing; a state that was kept before gets the corrected files.
        assert engine.out("lab", "update", str(lab), "--name", "upd") == "upd is at first-steps 1.1"
        engine.run("lab", "reset", "--name", "upd")
        assert sh(engine, "upd", "cat /root/work/untouched /root/work/both /root/work/mine").splitlines() == [
            f"second {mine}", f"second {mine}", f"first mine of {mine}",
        ]  # fmt: skip
    finally:
        engine.run("lab", "rm", "upd")


def test_a_corrected_lab_has_new_parameters_drawn_from_the_seed_of_the_start(
    engine: PrivateEngine, lab: Path, started: str
) -> None:
    mine = values(engine, started)
    change(lab, "minimum = 100\nmaximum = 9999", "minimum = 10000\nmaximum = 99999")
    text = (lab / "lab.toml").read_text() + '\n[parameters.more]\nkind = "password"\n'
    text = text.replace('expect = "{{number}}"', 'expect = "{{number}} {{more}}"')
    (lab / "lab.toml").write_text(text)
    (lab / "files/README.txt").write_text("{{more}} of {{number}}\n")
    update = ("lab", "update", str(lab), "--seed", "autumn")
    said = engine.out(*update).splitlines()
    more = said[1].rpartition(" = ")[2]
    assert said[0].startswith(
        f"KEPT      {{{{number}}}} = {mine['number']}: the corrected lab gives no such value"
    )
    assert said[1:] == [
        f"new       {{{{more}}}} = {more}", "updated   /root/work/README.txt", f"{started} is at first-steps 1.0",
    ]  # fmt: skip
    assert sh(engine, started, "cat /root/work/README.txt") == f"{more} of {mine['number']}"
    sh(engine, started, f"echo {mine['number']} {more} > /root/work/{mine['codename']}")
    assert "Next: A program that adds" in engine.out("lab", "check")
    assert engine.out(*update).splitlines()[1:] == said[-1:]  # the same again draws nothing
    # A machine that is started with the corrected lab has the same.
    engine.run("lab", "start", str(lab), "--name", "fresh", "--student", "ada", "--seed", "autumn")
    try:
        assert values(engine, "fresh")["more"] == more
    finally:
        engine.run("lab", "rm", "fresh")
    # What was taken out is gone, and comes back as it was.
    without = text.replace('\n[parameters.more]\nkind = "password"\n', "").replace(" {{more}}", "")
    (lab / "lab.toml").write_text(without)
    (lab / "files/README.txt").write_text("nothing more\n")
    assert "removed   {{more}}" in engine.out("lab", "update", str(lab), "--name", started)
    (lab / "lab.toml").write_text(text)
    assert f"{{{{more}}}} = {more}" in engine.out(*update)


def test_work_on_a_corrected_lab_is_judged_with_the_values_that_the_student_was_given(
    engine: PrivateEngine, lab: Path, started: str, tmp_path: Path
) -> None:
    mine = values(engine, started)
    change(lab, "minimum = 100\nmaximum = 9999", "minimum = 10000\nmaximum = 99999")
    (lab / "lab.toml").write_text((lab / "lab.toml").read_text() + '\n[parameters.more]\nkind = "word"\n')
    (lab / "private/grade.toml").write_text(
        '[[checks]]\nname = "both"\ncommand = "cat answer"\nexpect = "{{number}} {{more}}"\n'
    )
    said = engine.out("lab", "update", str(lab), "--seed", "autumn").splitlines()
    sh(engine, started, f"echo {mine['number']} {said[1].rpartition(' = ')[2]} > /root/work/answer")
    handed_in = str(tmp_path / "ada.submission")
    engine.run("lab", "submit", "-o", handed_in)
    for seed in ((), ("--seed", "autumn")):
        (grade,) = json.loads(
            engine.out("lab", "grade", handed_in, "--lab", str(lab), "--format", "json", *seed)
        )
        assert grade["points"] == 1, grade


def test_what_an_update_cannot_do_is_said_and_nothing_changes(
    engine: PrivateEngine, lab: Path, started: str
) -> None:
    before = sh(engine, started, "cat /root/work/*")
    (lab / "files/README.txt").write_text("corrected")
    text = (lab / "lab.toml").read_text()
    for new, says in (
        (text + '\n[parameters.more]\nkind = "word"\n', "new parameters (more) are drawn from the seed"),
        (text.replace('name = "first-steps"', 'name = "other"'), "is of lab 'first-steps', not of 'other'"),
    ):
        (lab / "lab.toml").write_text(new)
        said = engine.run("lab", "update", str(lab), status=125).stderr
        assert says in said and "Traceback" not in said
        assert sh(engine, started, "cat /root/work/*") == before


def test_a_lab_is_named_by_a_word_or_by_its_option_alike(engine: PrivateEngine, started: str) -> None:
    for words in (
        ["stop", started],
        ["stop", "--name", started],
        ["reset", started],
        ["reset", "-n", started],
    ):
        assert started in engine.out("lab", *words)
    refused = engine.run("lab", "stop", "--name", "another", started, status=125).stderr
    assert "'another'" in refused and f"'{started}'" in refused
    assert "lab rm NAME" in engine.run("lab", "rm", status=125).stderr
    refused = engine.run("lab", "check", started, status=125).stderr
    assert f"--name {started}" in refused and "files, program" in refused
    assert engine.out("lab", "rm", "--name", started) == started


def test_a_lab_to_start_that_is_no_folder_is_said_to_be_neither(engine: PrivateEngine) -> None:
    refused = engine.run("lab", "start", "nothere", status=125).stderr
    assert "no folder and no lab of yours: 'nothere'" in refused and "lab.toml" in refused


def test_one_file_that_is_no_submission_does_not_keep_others_from_being_verified(
    engine: PrivateEngine, started: str, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole.submission", tmp_path / "cut.submission"
    engine.run("lab", "submit", "-o", str(whole))
    cut.write_bytes(whole.read_bytes()[:1500])
    files = [str(cut), str(tmp_path / "none"), str(whole)]
    said = engine.run("lab", "verify", *files, status=1)
    assert f"{whole}: valid" in said.stdout and f"{cut}: NOT VALID" in said.stdout
    assert "  wrong      is no whole submission" in said.stdout
    rows = json.loads(engine.run("lab", "verify", "--format", "json", *files, status=1).stdout)
    assert [row["valid"] for row in rows] == [False, False, True] and rows[0]["file"] == str(cut)
