"""Grading: right work gets its points, hostile work gets none for what it spoils and harms nothing."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leaks import assert_nothing_leaked, settled
from private_engine import PrivateEngine

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/labs/first-steps"
HONEST = """
echo {number} > /root/work/{codename}
echo 'echo "sum: $(($1 + $2))"' > /root/work/sum.sh
"""
SECRET = "the-answer-that-only-the-teacher-has"
TRUSTS_THE_STUDENT = f"""#!/bin/sh
# {SECRET}
said=$(su student -c "sh $WORK/sum.sh 1 2" 2>&1) || exit 1
test "$said" = "sum: 3"
"""


class Classroom:
    """A lab with one machine, whose work is handed in and judged again and again."""

    def __init__(self, engine: PrivateEngine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        labels = engine.inspect("ada-lab")["Config"]["Labels"]
        self.values: dict[str, str] = json.loads(labels["multios.lab.values"])

    def submit(self, script: str, honest: bool = True) -> Path:
        """Hand in what a script, run as root of the student's machine, leaves there."""
        self.engine.run("lab", "reset", "--name", "ada-lab")
        text = (HONEST.format(**self.values) if honest else "") + script.replace(
            "CODENAME", self.values["codename"]
        )
        self.engine.run("exec", "-i", "ada-lab", "sh", input=text)
        target = self.folder / "ada.submission"
        self.engine.run("lab", "submit", "--name", "ada-lab", "-o", str(target))
        return target

    def grade(self, *files: Path) -> Any:
        words = ("lab", "grade", *map(str, files), "--lab", str(self.folder / "lab"), "--format", "json")
        return json.loads(self.engine.run(*words, timeout=200).stdout)


@pytest.fixture(scope="module")
def classroom(
    make_engine: Callable[..., PrivateEngine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Classroom]:
    place = tmp_path_factory.mktemp("class")
    engine = make_engine({"XDG_DATA_HOME": str(place / "data")})
    shutil.copytree(EXAMPLE, place / "lab")
    document = place / "lab/lab.toml"
    document.write_text(document.read_text().replace('"debian:12"', '"small:1"'))
    grading = place / "lab/private/grade.toml"
    grading.write_text(
        grading.read_text().replace('expect = "sum: 42"', 'expect = "sum: 42"\ntimeout = 5')
        + '\n[[checks]]\nname = "as the student"\ntest = "run.sh"\npoints = 3\ntimeout = 5\n'
    )
    (place / "lab/private/run.sh").write_text(TRUSTS_THE_STUDENT)
    engine.run(
        "lab", "start", str(place / "lab"), "--name", "ada-lab", "--student", "ada", "--seed", "autumn"
    )
    yield Classroom(engine, place)
    engine.run("lab", "rm", "ada-lab", status=None)


def points(grade: Any) -> dict[str, int]:
    return {mark["name"]: mark["points"] for mark in grade["checks"]}


FULL = {"adds small numbers": 2, "adds negative numbers": 1, "the file is there": 1, "as the student": 3}
SPOILT = {"adds small numbers": 0, "adds negative numbers": 0, "the file is there": 1, "as the student": 0}


def test_right_work_gets_all_points(classroom: Classroom) -> None:
    (grade,) = classroom.grade(classroom.submit(""))
    assert points(grade) == FULL and (grade["points"], grade["most"], grade["attested"]) == (7, 7, True), (
        grade
    )


def test_work_that_was_not_done_gets_none(classroom: Classroom) -> None:
    (grade,) = classroom.grade(classroom.submit("", honest=False))
    assert set(points(grade).values()) == {0}


def test_a_table_has_a_row_a_submission_whatever_is_in_it(classroom: Classroom) -> None:
    good, bad = classroom.submit(""), classroom.folder / "=bad"
    bad.write_bytes(b"nothing")
    words = ("lab", "grade", str(good), str(bad), "--lab", str(classroom.folder / "lab"), "--seed", "autumn")
    rows = list(csv.DictReader(io.StringIO(classroom.engine.out(*words))))
    assert [(row["student"], row["points"], row["attested"]) for row in rows] == [
        ("ada", "7", "yes"),
        ("", "0", "no"),
    ]
    assert rows[0]["adds small numbers"] == "2" and "no whole submission" in rows[1]["problems"]


def program(text: str) -> str:
    """The script that makes ``text`` the student's program."""
    return f"cat > /root/work/sum.sh <<'END'\n{text}\nEND\n"


ATTACKS = {
    "kills whatever it can": program("kill -9 -1; kill -9 1; kill -9 $PPID; killall5 -9; kill -STOP -1"),
    "forges results": program(
        'echo \'{"points": 100}\' > /root/work/result.json; echo "ok  all"; echo points=100; echo PASS; exit 0'
    ),
    "reads the tests": program(
        f"cat /grade-*/* /proc/*/fd/* /proc/*/cwd/* 2>/dev/null; grep -r {SECRET[:-1]}[s] /grade* /tmp /root 2>/dev/null && echo sum: 3"
    ),
    "finds where the tests are mounted": program(
        "place=$(grep -o '/grade-[0-9a-f]*' /proc/self/mountinfo) || exit 1; "
        "echo forged > $place/run.sh; chmod 777 $place; rm -r $place; umount $place; "
        "cat $place/* /proc/1/root$place/* && echo sum: 42 && echo sum: 3"
    ),
    "loops for ever": program("while :; do :; done"),
    "sleeps for ever behind its closed output": program("exec >&- 2>&- <&-; sleep 1000"),
    "leaves a process behind that holds its output": program("sleep 1000 &"),
    "fills the disk": program(
        "for place in /root/work /tmp /home/student /dev/shm; do dd if=/dev/zero of=$place/big bs=1M; done; "
        "i=0; while :; do : > /root/work/file$i || exit 1; i=$((i+1)); done"
    ),
    "is a fork bomb": program("bomb() { bomb | bomb & }; bomb; while :; do sleep 1000 & done"),
    "eats all memory": program("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x$x$x; done"),
    "writes without end": program("yes sum"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_program_gets_no_points_for_what_it_spoils_and_harms_nothing(
    classroom: Classroom, attack: str
) -> None:
    submission = classroom.submit(ATTACKS[attack])
    before, begun = settled(classroom.engine), time.monotonic()
    (grade,) = classroom.grade(submission)
    assert points(grade) == SPOILT, grade
    assert time.monotonic() - begun < 60
    assert SECRET not in json.dumps(grade)
    assert_nothing_leaked(classroom.engine, before)


LOOKS_AROUND = """#!/bin/sh
test "$(stat -c '%u %a' "$GRADE")" = "0 700" || { echo "$(stat -c '%u %a' "$GRADE")"; exit 1; }
grep -q " $GRADE ro," /proc/self/mountinfo || { grep "$GRADE" /proc/self/mountinfo; exit 1; }
for try in "touch $GRADE/new" "rm $GRADE/run.sh" "chmod 777 $GRADE"; do $try 2>/dev/null && { echo "$try"; exit 1; }; done
test -x "$GRADE/run.sh"
"""


def test_the_teachers_tests_are_mounted_read_only_for_root_alone_and_left_nowhere(
    classroom: Classroom,
) -> None:
    lab = shutil.copytree(classroom.folder / "lab", classroom.folder / "mounted")
    (lab / "private/look.sh").write_text(LOOKS_AROUND)
    (lab / "private/grade.toml").write_text('[[checks]]\nname = "looks around"\ntest = "look.sh"\n')
    submission = classroom.submit("")
    words = ("lab", "grade", str(submission), "--lab", str(lab), "--format", "json")
    (grade,) = json.loads(classroom.engine.out(*words))
    assert points(grade) == {"looks around": 1}, grade
    assert not list(Path(classroom.engine.environment["XDG_DATA_HOME"]).glob("multios/labs/grading-*"))


OWN_TOOLS = """
cp /bin/busybox /root/busybox
rm /bin/sh /bin/su /bin/grep /bin/cat
printf '#!/root/busybox sh\\necho sum: 42; echo sum: 3; exit 0\\n' > /bin/sh
for tool in su grep cat; do /root/busybox cp /bin/sh /bin/$tool; done
/root/busybox chmod 755 /bin/sh /bin/su /bin/grep /bin/cat
/root/busybox cp /bin/sh /root/work/sh; /root/busybox cp /bin/sh /root/work/grep
/root/busybox cp /bin/sh /root/work/su; /root/busybox sh -c 'echo echo no > /root/work/sum.sh'
"""


def test_a_replaced_shell_replaces_nothing_where_it_is_judged(classroom: Classroom) -> None:
    (grade,) = classroom.grade(classroom.submit(OWN_TOOLS))
    assert points(grade) == SPOILT, grade


@pytest.mark.parametrize(
    "goal", ["/grade.toml", "/proc/self/cwd/run.sh", "/proc/self/fd/10", "../../etc/passwd", "/etc/greeting"]
)
def test_a_link_out_of_the_work_leads_nowhere(classroom: Classroom, goal: str) -> None:
    script = f"rm /root/work/CODENAME; ln -s {goal} /root/work/CODENAME; rm -f /root/work/sum.sh; ln -s {goal} /root/work/sum.sh"
    (grade,) = classroom.grade(classroom.submit(script))
    assert set(points(grade).values()) == {0}
    assert len(grade["left_out"]) == 2


def test_a_work_that_does_not_fit_is_said(classroom: Classroom) -> None:
    (grade,) = classroom.grade(
        classroom.submit("dd if=/dev/urandom of=/root/work/big bs=1M count=24 2>/dev/null")
    )
    assert set(points(grade).values()) == {0}
    assert "does not fit" in grade["checks"][0]["reason"]


def test_the_judge_has_no_network(classroom: Classroom) -> None:
    (grade,) = classroom.grade(classroom.submit(program('test "$(ls /sys/class/net)" = lo && echo sum: 42')))
    assert points(grade)["adds small numbers"] == 2


def test_the_work_of_another_is_not_ones_own(classroom: Classroom) -> None:
    """The machine's labels name whose it is; who changes the manifest has no points."""
    import tarfile

    whole = classroom.submit("")
    forged = classroom.folder / "eve.submission"
    with tarfile.open(whole) as source, tarfile.open(forged, "w") as target:
        for member in source:
            content = source.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == "manifest.json":
                content = content.replace(b'"student":"ada"', b'"student":"eve"')
            target.addfile(member, io.BytesIO(content))
    (grade,) = classroom.grade(forged)
    assert grade["points"] == 0 and any("another student's" in problem for problem in grade["problems"])
