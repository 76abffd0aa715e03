"""Labs of ordinary users of one engine: their own machines, submissions that name them, snapshots within their quotas."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from other_users import User, open_to_group
from private_engine import PrivateEngine, eventually

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/labs/first-steps"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that users may pass through."""
    path = Path(tempfile.mkdtemp(prefix="multios-lab-users-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def engine(make_engine: Callable[..., PrivateEngine], place: Path) -> PrivateEngine:
    made = make_engine({"XDG_DATA_HOME": str(place / "ada")})
    made.config.write_text(made.config.read_text() + '[quotas.user.list]\ndisk = "40MB"\n')
    made.daemon("reload")
    open_to_group(made)
    made.directory.chmod(0o711)
    eventually(lambda: made.json("quota", "--all"), "the quotas are known")
    shutil.copytree(EXAMPLE, place / "lab")
    document = place / "lab/lab.toml"
    document.write_text(document.read_text().replace('"debian:12"', '"small:1"'))
    return made


def test_a_student_without_rights_hands_in_and_the_teacher_sees_who_it_was(
    engine: PrivateEngine, place: Path
) -> None:
    ada = User(engine, "games")
    ada.directory(place / "ada")
    ada.run("lab", "start", str(place / "lab"), "--name", "mine", "--student", "ada")
    try:
        values = json.loads(
            json.loads(ada.out("inspect", "mine"))[0]["Config"]["Labels"]["multios.lab.values"]
        )
        ada.run("exec", "mine", "sh", "-c", f"echo {values['number']} > /root/work/{values['codename']}")
        assert "Next: " in ada.out("lab", "check")
        ada.run("lab", "reset", "--soft")
        ada.run("lab", "submit", "-o", str(place / "ada/handed.in"))
        said = engine.out("lab", "verify", str(place / "ada/handed.in"))
        assert ": valid" in said and f"user       games (uid {ada.uid})" in said
        words = (
            "lab",
            "grade",
            str(place / "ada/handed.in"),
            "--lab",
            str(place / "lab"),
            "--format",
            "json",
        )
        (grade,) = json.loads(engine.out(*words))
        assert (grade["user"], grade["attested"], grade["points"]) == ("games", True, 1), grade
        (grade,) = json.loads(engine.out(*words, "--seed", "another"))
        assert grade["points"] == 0 and "not those of the seed" in grade["problems"][0], grade
        other = User(engine, "news")
        assert "no such container" in other.run("reset", "mine", status=125).stderr
    finally:
        ada.run("lab", "rm", "mine", status=None)


LOOKS_AROUND = """#!/bin/sh
test "$(stat -c %u:%a "$GRADE")" = 0:700 || { stat -c %u:%a "$GRADE"; exit 1; }
touch "$GRADE/new" 2>/dev/null && exit 2
su student -c "ls $GRADE" 2>/dev/null && exit 3
test -x "$GRADE/look.sh"
"""


def test_a_teacher_without_rights_has_his_tests_mounted_for_root_inside_alone(
    engine: PrivateEngine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = User(engine, "news")
    monkeypatch.setitem(engine.environment, "XDG_DATA_HOME", str(teacher.directory(place / "teacher")))
    lab = teacher.directory(place / "teacher/lab")
    shutil.copytree(place / "lab", lab, dirs_exist_ok=True)
    (lab / "private/look.sh").write_text(LOOKS_AROUND)
    (lab / "private/grade.toml").write_text('[[checks]]\nname = "mounted"\ntest = "look.sh"\n')
    subprocess.run(["chown", "--recursive", teacher.name, lab], check=True)
    teacher.run("lab", "start", str(lab), "--name", "tried")
    try:
        handed_in = str(place / "teacher/handed.in")
        teacher.run("lab", "submit", "--name", "tried", "-o", handed_in)
        (grade,) = json.loads(teacher.out("lab", "grade", handed_in, "--lab", str(lab), "--format", "json"))
        assert [(check["points"], check["reason"]) for check in grade["checks"]] == [(1, "")]
    finally:
        teacher.run("lab", "rm", "tried", status=None)


def test_every_snapshot_counts_to_the_quota_of_the_disk(engine: PrivateEngine) -> None:
    lena = User(engine, "list")
    lena.run("create", "--name", "box", "--disk-limit", "16M", "small:1", "sleep", "60")
    try:
        lena.run("snapshot", "box", "one")
        said = lena.run("snapshot", "box", "two", status=125).stderr
        assert "40" in said and "disk" in said and "Traceback" not in said
        lena.run("reset", "--to", "one", "box")
        lena.run("snapshot", "--remove", "box", "one")
        lena.run("snapshot", "box", "two")
    finally:
        lena.run("delete", "--force", "box", status=None)
