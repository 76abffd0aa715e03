"""Work on a course's labs comes out of students' machines on a cluster and is graded on this host, by the real programs."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_rootfs
import kubernetes_server
from private_engine import PrivateEngine

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(
        importlib.util.find_spec("multios_labs") is None, reason="this host has no multios-labs"
    ),
]
COURSE = """\
schema = 1
name = "intro"
title = "A course of the tests"
version = "1.0"
roster = "students.csv"
[[templates]]
image = "registry.example.org/small@sha256:{digest}"
command = ["sleep", "1000"]
[[labs]]
path = "labs/first"
[quota]
disk = "1GB"
"""
LAB = """\
schema = 1
name = "first"
version = "1.0"
title = "A lab of the tests"
image = "small:1"
network = "none"
submit = ["/root/work", "/root/notes"]
[parameters.number]
kind = "integer"
minimum = 100
maximum = 9999
[[steps]]
id = "only"
title = "Write your number"
goal = "Write {{number}} into /root/work/answer."
[[steps.checks]]
name = "the answer"
command = "cat /root/work/answer"
expect = "{{number}}"
hint = "echo {{number}} > /root/work/answer"
"""
GRADE = """\
[[checks]]
name = "adds"
command = "sh sum.sh 20 22"
expect = "42"
[[checks]]
name = "the answer"
test = "answer.sh"
points = 2
"""
TEST = """\
#!/bin/sh
test -d "$GRADE" && grep -q '^{{number}}$' "$WORK/answer"
"""
FAST = ("--orchestrator-opt", "rate=0")


@pytest.fixture
def cluster(
    engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[kubernetes_server.Server]:
    """Each of its pods has a root filesystem of its own."""
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", busybox_rootfs.write(tmp_path / "root.tar"), "-C", root], check=True)
    with kubernetes_server.running() as running:
        running.pods.root, running.pods.own_roots = root, tmp_path / "roots"
        running.pods.own_roots.mkdir()
        for key, value in {
            "KUBECONFIG": str(running.kubeconfig(tmp_path / "kubeconfig")),
            "MULTIOS_ORCHESTRATOR": "kubernetes",
            "XDG_DATA_HOME": str(tmp_path / "data"),
        }.items():
            monkeypatch.setitem(engine.environment, key, value)
        yield running


@pytest.fixture
def course(engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path) -> Path:
    """The folder of a course that runs on the cluster."""
    folder = tmp_path / "intro"
    private = folder / "labs/first/private"
    private.mkdir(parents=True)
    (folder / "labs/first/lab.toml").write_text(LAB)
    (private / "grade.toml").write_text(GRADE)
    (private / "answer.sh").write_text(TEST)
    (folder / "course.toml").write_text(COURSE.format(digest="a" * 64))
    (folder / "students.csv").write_text("id,name\ns1,Ada\ns2,=Bob()\ns3,Cleo\ns4,Dan\n")
    said = engine.run("course", "start", str(folder), *FAST)
    assert "given by --lab: first; collect takes work on them from /home/student" in said.stderr
    return folder


def home(cluster: kubernetes_server.Server, student: str) -> Path:
    """The student's home, as he sees it."""
    (pod,) = cluster.store.select("pods", f"intro-{student}", "")
    return cluster.pods.root_of(pod) / "home/student"


def work(cluster: kubernetes_server.Server, student: str, answer: str) -> None:
    folder = home(cluster, student) / "work"
    folder.mkdir()
    (folder / "answer").write_text(f"{answer}\n")
    (folder / "sum.sh").write_text("echo $(($1 + $2))\n")


def graded(engine: PrivateEngine, course: Path, *options: str, status: int = 0) -> dict[str, dict[str, str]]:
    """The rows of the CSV file, by student."""
    output = course / "grades.csv"
    engine.run("course", "grade", str(course), "-o", str(output), *options, timeout=300, status=status)
    with output.open(newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def collected(engine: PrivateEngine, course: Path, status: int) -> tuple[dict[str, dict[str, str]], str]:
    """The rows by student, and what was said besides."""
    words = ("course", "collect", str(course), *FAST, "--format", "json")
    done = engine.run(*words, status=status, timeout=100)
    return {row["student"]: row for row in json.loads(done.stdout)}, done.stderr


def number_of(student: str, seed: str, students: tuple[str, ...] = ()) -> str:
    """What the lab gives this student."""
    from multios_labs import parameters
    from multios_labs.records import LabParameter

    number = LabParameter("number", "integer", minimum=100, maximum=9999)
    return parameters.derive((number,), "first", seed, student, students)["number"]


def test_work_is_collected_and_graded_and_nobody_says_that_it_was_signed(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    number = number_of("s1", "secret", ("s1", "s2", "s3", "s4"))
    work(cluster, "s1", number)
    work(cluster, "s2", number)
    (home(cluster, "s2") / "notes").mkdir()
    cluster.store.delete(("replicasets", "intro-s4", "environment-1"))  # its pod goes with it
    rows, said = collected(engine, course, status=1)
    assert "2 of 4 collected" in said and "missing: s3; failed: s4" in said
    assert "On kubernetes: not signed by the students and attested by no engine" in said
    assert rows["s1"]["signed"] == rows["s2"]["signed"] == "no: copied by the teacher"
    assert rows["s3"]["problem"] == "there is no /home/student/work nor /home/student/notes"
    assert rows["s4"]["problem"] == "intro-s4 does not run: it has no pod"
    assert sorted(path.name for path in (course / "submissions/first").iterdir()) == [
        "s1.submission", "s2.submission",
    ]  # fmt: skip

    file = str(course / "submissions/first/s1.submission")
    verified = engine.run("lab", "verify", file, status=1)
    assert "NOT VALID" in verified.stdout and "signed     no: copied by the teacher" in verified.stdout
    found = graded(engine, course, "--seed", "secret")
    assert [(found[one]["state"], found[one]["points"]) for one in ("s1", "s2", "s3", "s4")] == [
        ("graded", "3"), ("graded", "1"), ("missing", "0"), ("missing", "0"),
    ]  # fmt: skip
    assert {(found[one]["attested"], found[one]["signed"]) for one in ("s1", "s2")} == {
        ("no", "no: copied by the teacher")
    }
    assert engine.out("ps", "--all", "--quiet") == ""


def test_one_students_work_is_not_anothers_and_without_a_seed_values_are_of_the_labs_name(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    work(cluster, "s1", number_of("s1", seed="first"))
    engine.run("course", "collect", str(course), *FAST)
    folder = course / "submissions/first"
    (folder / "s3.submission").write_bytes((folder / "s1.submission").read_bytes())
    found = graded(engine, course)
    assert (found["s1"]["state"], found["s1"]["points"]) == ("graded", "3")
    assert found["s3"]["state"] == "refused" and "the work of student 's1'" in found["s3"]["problem"]


def hostile(file: Path) -> None:
    with tarfile.open(file, "w") as archive:
        for name, kind, link, content in (
            ("work/../../../../etc/owned", tarfile.REGTYPE, "", b"owned"),
            ("/etc/owned", tarfile.REGTYPE, "", b"owned"),
            ("work/null", tarfile.CHRTYPE, "", b""),
            ("work/out", tarfile.SYMTYPE, "/etc", b""),
            ("work/out/owned", tarfile.REGTYPE, "", b"owned"),
            ("work/sum.sh", tarfile.REGTYPE, "", b"echo $(($1 + $2))\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size, entry.mode = kind, link, len(content), 0o6777
            archive.addfile(entry, io.BytesIO(content))


def test_what_hostile_machines_give_is_judged_for_what_is_work_in_it_or_is_a_line(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    hostile(home(cluster, "s1") / "tar")
    for student, script in (
        ("s1", "cat /home/student/tar"),
        ("s2", "while :; do echo rubbish; done | head -c 100000"),
        ("s3", "exit 3"),
    ):
        program = home(cluster, student).parents[1] / "bin/tar"
        program.unlink()
        program.write_text(
            f"#!/bin/sh\ncase $* in *notes*) echo No such file or directory >&2; exit 1;; esac\n{script}\n"
        )
        program.chmod(0o755)
    work(cluster, "s4", "1")
    there = set(os.listdir("/etc"))
    rows, said = collected(engine, course, status=1)
    assert "s1: first: left out, because no plain file below submit: work/../../../../etc/owned, " in said
    assert {student: row["state"] for student, row in rows.items()} == {
        "s1": "collected", "s2": "failed", "s3": "failed", "s4": "collected",
    }  # fmt: skip
    assert "wrong checksum" in rows["s2"]["problem"] and "tar ended with 3" in rows["s3"]["problem"]
    found = graded(engine, course)
    assert {student: row["state"] for student, row in found.items()} == {
        "s1": "graded", "s2": "missing", "s3": "missing", "s4": "graded",
    }  # fmt: skip
    assert found["s1"]["points"] == "1" and set(os.listdir("/etc")) == there


def test_a_stream_that_is_lost_leaves_the_submission_of_before(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    work(cluster, "s1", "1")
    engine.run("course", "collect", str(course), *FAST)
    file = course / "submissions/first/s1.submission"
    before = file.read_bytes()
    cluster.pods.cuts_streams = True
    failed = engine.run("course", "collect", str(course), *FAST, status=1)
    assert "failed: s1, s2, s3, s4" in failed.stderr and "the connection to the pod ended" in failed.stdout
    assert file.read_bytes() == before and len(list(file.parent.iterdir())) == 1


def test_the_rate_of_requests_is_kept_while_students_are_copied_side_by_side(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    cluster.requests.clear()
    slow = ("--orchestrator-opt", "rate=10", "--orchestrator-opt", "burst=1")
    engine.run("course", "collect", str(course), *slow)
    times = [request.at for request in cluster.requests]
    assert len(times) >= 2 + 4 * 4 and times[-1] - times[0] >= (len(times) - 2) / 10


def test_machines_of_students_who_are_named_begin_anew(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    for student in ("s1", "s2"):
        work(cluster, student, "1")
        (home(cluster, student).parents[1] / "tmp/rubbish").touch()
    refused = engine.run("course", "reset", str(course), "s1", *FAST, status=1)
    assert "--yes does it without asking" in refused.stderr
    unknown = engine.run("course", "reset", str(course), "s9", "--yes", *FAST, status=125)
    assert "no such student: 's9'" in unknown.stderr
    done = engine.out("course", "reset", "intro", "s1", "--yes", *FAST)
    assert "1 machine of intro put back to the beginning" in done
    assert not (home(cluster, "s1").parents[1] / "tmp/rubbish").exists()
    assert (home(cluster, "s1") / "work/answer").read_text() == "1\n"
    assert (home(cluster, "s2").parents[1] / "tmp/rubbish").exists()


def test_machines_on_this_host_begin_anew_by_the_same_command(
    engine: PrivateEngine, course: Path, tmp_path: Path
) -> None:
    file = course / "course.toml"
    file.write_text(file.read_text().replace(f"registry.example.org/small@sha256:{'a' * 64}", "small:1"))
    file.write_text(file.read_text().replace('[quota]\ndisk = "1GB"\n', ""))
    here = ("--orchestrator", "local")
    engine.run("course", "start", str(course), *here)
    try:
        for student in ("s1", "s2"):
            engine.run("exec", f"intro-{student}", "touch", "/root/rubbish")
        assert "1 machine of intro put back" in engine.out(
            "course", "reset", str(course), "s1", "--yes", *here
        )
        assert "rubbish" not in engine.out("exec", "intro-s1", "ls", "/root")
        assert "rubbish" in engine.out("exec", "intro-s2", "ls", "/root")
    finally:
        engine.run("course", "wipe", "--yes", str(course), *here)


def test_of_several_machines_the_labs_own_is_copied_from_and_two_labs_of_one_directory_are_told(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    file = course / "course.toml"
    other = f'[[templates]]\nimage = "r.example.org/b@sha256:{"b" * 64}"\n'
    file.write_text(file.read_text().replace('name = "intro"', 'name = "two"') + other)
    refused = engine.run("course", "collect", str(course), *FAST, status=125)
    assert "lab 'first' is of 'small:1', and the course has no machine of that" in refused.stderr
    assert not (course / "submissions").exists() and not cluster.store.select("pods", "two-s1-machine2", "")

    engine.run("course", "start", str(course), *FAST)
    (pod,) = cluster.store.select("pods", "two-s1-machine2", "")
    (cluster.pods.root_of(pod) / "home/student/work").mkdir()
    (course / "labs/second").mkdir()
    (course / "labs/second/lab.toml").write_text(LAB.replace('name = "first"', 'name = "second"'))
    own = other.replace(f"r.example.org/b@sha256:{'b' * 64}", "small:1")
    file.write_text(file.read_text().replace(other, own) + '[[labs]]\npath = "labs/second"\n')
    rows, said = collected(engine, course, status=0)
    assert {student for student, row in rows.items() if row["state"] == "collected"} == {"s1"}
    assert "Labs first and second both take in /home/student/work: each gets all that is there" in said


# --- course start --lab ---------------------------------------------------------------------------------

FILES = """\
[[files]]
source = "sum.sh"
target = "/root/work/sum.sh"
[[files]]
source = "task.txt"
target = "{target}"
"""
TASK = "/root/work/task.txt"


def add_files(course: Path, target: str = TASK, lab: str = "first", more: str = "") -> None:
    """The lab's own files; ``more`` is said before its steps."""
    folder = course / "labs" / lab
    folder.mkdir(exist_ok=True)
    (folder / "sum.sh").write_text("echo $(($1 + $2))\n")
    (folder / "task.txt").write_text("Your number is {{number}}.\n")
    text = LAB.replace('name = "first"', f'name = "{lab}"').replace("[parameters", f"{more}\n[parameters")
    (folder / "lab.toml").write_text(text + FILES.format(target=target))


def give(engine: PrivateEngine, course: Path, *options: str, status: int = 0) -> tuple[str, str]:
    """What ``course start --lab first`` writes."""
    words = ("course", "start", str(course), "--lab", "first", *FAST, *options)
    done = engine.run(*words, status=status, timeout=100)
    return done.stdout, done.stderr


def test_students_get_a_labs_files_steps_and_values_once_and_their_work_is_graded_by_them(
    engine: PrivateEngine,
    cluster: kubernetes_server.Server,
    course: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(engine.environment, "MULTIOS_LAB_SEED", "secret")
    add_files(course)
    assert "4 of 4 students have lab first: 4 were given it, 0 had it" in give(engine, course)[0]
    for student in ("s1", "s2"):
        number = number_of(student, "secret", ("s1", "s2", "s3", "s4"))
        assert (home(cluster, student) / "work/task.txt").read_text() == f"Your number is {number}.\n"
        assert f"Write {number} into /root/work/answer." in (home(cluster, student) / "first.md").read_text()
    (home(cluster, "s1") / "work/task.txt").write_text("mine\n")
    (home(cluster, "s1") / "work/sum.sh").unlink()
    (home(cluster, "s1") / "work/answer").write_text(number_of("s1", "secret", ("s1", "s2", "s3", "s4")))
    assert "4 of 4 students have lab first: 0 were given it, 4 had it" in give(engine, course)[0]
    assert (home(cluster, "s1") / "work/task.txt").read_text() == "mine\n"
    assert not (home(cluster, "s1") / "work/sum.sh").exists()
    engine.run("course", "collect", str(course), *FAST)
    found = graded(engine, course)
    assert [(found[one]["state"], found[one]["points"]) for one in ("s1", "s2")] == [
        ("graded", "3"), ("graded", "1"),
    ]  # fmt: skip


def check(cluster: kubernetes_server.Server, student: str) -> subprocess.CompletedProcess[str]:
    """The student runs the lab's checks."""
    root = home(cluster, student).parents[1]
    null = root / "dev/null"  # as a node's runtime makes it
    null.parent.mkdir(exist_ok=True)
    if not null.exists():
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return subprocess.run(
        ["chroot", root, "/bin/sh", "/home/student/first.check"],
        env={"PATH": "/bin:/usr/sbin", "HOME": "/home/student"}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_students_on_a_cluster_check_their_work_and_get_hints_with_their_own_values(
    engine: PrivateEngine,
    cluster: kubernetes_server.Server,
    course: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(engine.environment, "MULTIOS_LAB_SEED", "secret")
    add_files(course, more='setup = ["echo {{number}} > /root/begun"]')
    give(engine, course)
    number = number_of("s2", "secret", ("s1", "s2", "s3", "s4"))
    before = check(cluster, "s2")
    assert before.returncode == 1
    assert (home(cluster, "s2") / "begun").read_text() == f"{number}\n"
    assert f"        hint: echo {number} > /home/student/work/answer\n" in before.stdout
    (home(cluster, "s2") / "work/answer").write_text(f"{number}\n")
    after = check(cluster, "s2")
    assert (after.returncode, after.stdout, after.stderr) == (
        0,
        "ok      the answer\nall steps are done\n",
        "",
    )


def test_who_could_not_be_given_a_lab_is_a_line_and_is_done_by_the_next_start(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    add_files(course)
    program = home(cluster, "s2").parents[1] / "bin/tar"
    kept = program.readlink() if program.is_symlink() else program.read_bytes()
    program.unlink()
    program.write_text(
        '#!/bin/sh\ncase "$*" in *-xf*) echo "tar: \x1b[2J no space left" >&2; exit 1;; esac\nexec busybox tar "$@"\n'
    )
    program.chmod(0o755)
    out, error = give(engine, course, status=1)
    assert "3 of 4 students have lab first: 3 were given it, 0 had it" in out
    assert "s2: environment:/home/student: tar: " in error and "no space left" in error
    assert "\x1b" not in error and "Traceback" not in error
    program.unlink()
    program.symlink_to(kept) if isinstance(kept, Path) else program.write_bytes(kept)
    program.chmod(0o755)
    assert "4 of 4 students have lab first: 1 were given it, 3 had it" in give(engine, course)[0]
    assert (home(cluster, "s2") / "work/task.txt").exists()


def test_machines_that_are_missing_are_made_and_then_given_the_lab(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    add_files(course)
    engine.run("course", "stop", str(course), *FAST)
    with (course / "students.csv").open("a") as roster:
        roster.write("s5,Eve\n")
    out, _ = give(engine, course)
    assert "5 of 5 machines of intro run: 5 started" in out and "5 were given it" in out
    assert (home(cluster, "s5") / "work/task.txt").exists()


def test_a_lab_that_cannot_be_on_a_cluster_is_refused_before_anything_is_made(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    add_files(course, "/etc/motd")
    engine.run("course", "stop", str(course), *FAST)
    before = len(cluster.changes())
    _, error = give(engine, course, status=125)
    assert "files: '/etc/motd' needs root, whom machines elsewhere do not have" in error
    assert len(cluster.changes()) == before


def test_two_labs_of_one_machine_do_not_write_over_each_other(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    add_files(course)
    add_files(course, lab="second")
    with (course / "course.toml").open("a") as file:
        file.write('[[labs]]\npath = "labs/second"\n')
    _, error = give(engine, course, status=125)
    assert "labs first and second both have /home/student/work/sum.sh" in error
    assert not (home(cluster, "s1") / "work").exists()


def test_what_of_a_lab_is_otherwise_there_is_said_before_also_by_a_dry_run(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    add_files(course, more='setup = ["useradd mallory"]\ncommand = ["nginx"]')
    before = len(cluster.changes())
    out, error = give(engine, course, "--dry-run")
    assert "On kubernetes, lab first: elsewhere the setup of the lab is run by first.check" in error
    assert "elsewhere its command is not run" in error
    assert "4 as they should be" in out and len(cluster.changes()) == before
    assert not (home(cluster, "s1") / "first.md").exists()


def test_the_rate_of_requests_is_kept_while_a_lab_is_given(
    engine: PrivateEngine, cluster: kubernetes_server.Server, course: Path
) -> None:
    add_files(course)
    cluster.requests.clear()
    give(engine, course, "--orchestrator-opt", "rate=20", "--orchestrator-opt", "burst=1")
    entered = [request.at for request in cluster.requests if request.path.endswith("/exec")]
    assert len(entered) == 4 * 2
    times = [request.at for request in cluster.requests]
    assert times[-1] - times[0] >= (len(times) - 2) / 20
