"""``course …``: a machine for every student, through the real programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from greeting_server import await_servers
from other_users import User, open_to_group
from private_engine import PrivateEngine, eventually

CLASS = 200
COURSE = """\
schema = 1
name = "{name}"
title = "A course of the tests"
version = "1.0"
roster = "students.csv"
[[templates]]
image = "small:1"
command = ["sleep", "1000"]
[quota]
memory = "32MB"
processes = 20
{more}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = PrivateEngine(tmp_path_factory.mktemp("engine"), containers=CLASS + 50)
    made.start()
    made.import_small_image()
    open_to_group(made)
    yield made
    made.end()


@pytest.fixture
def course(engine: PrivateEngine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder with a course of two students, wiped afterwards."""
    write(tmp_path, "id,name\ns1,Ada\ns2,Bob\n", f"c{abs(hash(request.node.name)) % 10**8}")
    yield tmp_path
    engine.run("course", "wipe", "--yes", str(tmp_path), status=None)


def write(folder: Path, roster: str, name: str = "", more: str = "") -> None:
    file = folder / "course.toml"
    name = name or file.read_text().split('name = "')[1].split('"')[0]
    file.write_text(COURSE.format(name=name, more=more))
    (folder / "students.csv").write_text(roster)


def name_of(folder: Path) -> str:
    return (folder / "course.toml").read_text().split('name = "')[1].split('"')[0]


def status(engine: PrivateEngine, folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = engine.json("course", "status", str(folder))
    return rows


def states(engine: PrivateEngine, folder: Path) -> dict[object, object]:
    return {row["student"]: row["state"] for row in status(engine, folder)}


def test_a_roster_for_a_cluster_is_longer_and_names_users_of_other_hosts(
    engine: PrivateEngine, course: Path
) -> None:
    rows = "".join(f"s{number},of-another-host-{number}\n" for number in range(1001))
    (course / "students.csv").write_text(f"id,user\n{rows}")
    assert "1001 students" in engine.out("course", "validate", str(course), "--orchestrator", "kubernetes")
    refused = engine.run("course", "validate", str(course), status=125).stderr
    assert "Error: " in refused and "1000" in refused
    text = (course / "course.toml").read_text()
    (course / "course.toml").write_text(text.partition("[[templates]]")[0])
    refused = engine.run("course", "validate", str(course), "--orchestrator", "kubernetes", status=125).stderr
    assert "there is no template" in refused


def test_a_course_is_validated_with_its_roster(engine: PrivateEngine, course: Path) -> None:
    assert "2 students, 2 machines, network isolated" in engine.out("course", "validate", str(course))
    (course / "students.csv").write_text("id\na\nb\nA\n")
    refused = engine.run("course", "validate", str(course), status=125).stderr
    assert "students.csv:4: id: 'A' stands in line 2 already" in refused and "Traceback" not in refused


def test_machines_are_started_stopped_started_again_and_wiped(engine: PrivateEngine, course: Path) -> None:
    assert states(engine, course) == {"s1": "missing", "s2": "missing"}
    assert "2 of 2 machines" in engine.out("course", "start", str(course))
    rows = status(engine, course)
    assert {row["state"] for row in rows} == {"running"} and rows[0]["name"] == "Ada"
    assert all(isinstance(row["memory"], int) and row["disk"] is not None for row in rows)
    record = engine.inspect(f"{name_of(course)}-s1")
    limits = record["HostConfig"]["Resources"]
    assert limits["memory_limit"] == 32 << 20 and limits["pids_limit"] == 20
    engine.run("exec", f"{name_of(course)}-s1", "sh", "-c", "echo kept > /work")
    assert "0 started, 2 ran already" in engine.out("course", "start", str(course))
    assert "2 machines" in engine.out("course", "stop", "--time", "0", str(course))
    assert states(engine, course) == {"s1": "exited", "s2": "exited"}
    engine.run("course", "start", str(course))
    assert engine.out("exec", f"{name_of(course)}-s1", "cat", "/work") == "kept"
    assert name_of(course) in engine.out("course", "list")
    assert "nothing of" in engine.out("course", "wipe", "--yes", str(course))
    assert (
        engine.out("ps", "--all", "--quiet", "--filter", f"label=org.multios.course={name_of(course)}") == ""
    )
    assert f"course-{name_of(course)}" not in engine.out("network", "ls", "--quiet")
    assert name_of(course) not in engine.out("course", "list")


def test_who_comes_later_gets_a_machine_and_nobody_a_second(engine: PrivateEngine, course: Path) -> None:
    engine.run("course", "start", str(course))
    before = {row["student"]: row["id"] for row in status(engine, course)}
    write(course, "id,name\ns1,Ada\ns2,Bob\ns3,Eve\n")
    engine.run("delete", "--force", f"{name_of(course)}-s2")
    assert "2 started" in engine.out("course", "start", str(course))
    after = {row["student"]: row["id"] for row in status(engine, course)}
    assert after["s1"] == before["s1"] and after["s2"] != before["s2"] and after["s3"]


def test_wipe_asks_and_does_nothing_unless_it_is_told_to(engine: PrivateEngine, course: Path) -> None:
    engine.run("course", "start", str(course))
    assert "Nothing was removed" in engine.run("course", "wipe", str(course), status=1).stderr
    assert set(states(engine, course).values()) == {"running"}


def test_wipe_needs_only_the_name_and_takes_volumes_with_the_label_too(
    engine: PrivateEngine, course: Path
) -> None:
    name = name_of(course)
    engine.run("course", "start", str(course))
    engine.run("volume", "create", f"work-{name}", "--label", f"org.multios.course={name}")
    engine.run("volume", "create", f"other-{name}")
    said = engine.out("course", "wipe", "--yes", name)
    assert "2 machines, 1 network, 1 volume" in said and f"nothing of {name} is left" in said
    assert f"work-{name}" not in engine.out("volume", "ls", "--quiet")
    engine.run("volume", "rm", f"other-{name}")


def test_wipe_says_what_is_left_and_fails(engine: PrivateEngine, course: Path) -> None:
    """A container that is no machine of the course holds its network."""
    name = name_of(course)
    engine.run("course", "start", str(course))
    engine.run(
        "run", "-d", "--name", f"guest-{name}", "--network", f"course-{name}", "small:1", "sleep", "1000"
    )
    refused = engine.run("course", "wipe", "--yes", str(course), status=1)
    assert f"still there: network course-{name}" in refused.stderr and "is left" not in refused.stdout
    engine.run("delete", "--force", f"guest-{name}")
    engine.run("course", "wipe", "--yes", str(course))


@pytest.mark.parametrize(
    ("policy", "neighbour", "outside"),
    [("none", False, False), ("isolated", False, False), ("shared", True, False), ("open", True, True)],
)
def test_the_policy_says_what_a_machine_reaches(
    engine: PrivateEngine, course: Path, policy: str, neighbour: bool, outside: bool
) -> None:
    write(course, "id\ns1\ns2\n", more=f'[network]\npolicy = "{policy}"')
    engine.run("course", "start", str(course))
    one, two = f"{name_of(course)}-s1", f"{name_of(course)}-s2"
    if policy != "none":
        networks = engine.inspect(two)["NetworkSettings"]["Networks"]
        address = next(iter(networks.values()))["IPAddress"]
        engine.run("exec", "-d", two, "nc", "-l", "-p", "7000", "-e", "echo", "hello")
        await_servers(engine, two, port=7000)
        asked = f"nc -w 5 {address} 7000 </dev/null"
        assert ("hello" in engine.run("exec", one, "sh", "-c", asked, status=None).stdout) == neighbour
    routes = engine.out("exec", one, "sh", "-c", "ip route || true")
    assert ("default" in routes) == outside


def test_a_students_machine_is_his_and_nobody_elses(engine: PrivateEngine, course: Path) -> None:
    ada, bob = User(engine, "games"), User(engine, "news")
    write(course, "id,user\ns1,games\ns2,news\ns3,\n")
    engine.run("course", "start", str(course))
    name = name_of(course)
    for user, own in ((ada, f"{name}-s1"), (bob, f"{name}-s2")):
        assert user.out("ps", "--format", "{{.Names}}").split() == [own]
        assert user.out("exec", own, "id", "-u") == "0"
        for other in ("s1", "s2", "s3"):
            if not own.endswith(other):
                assert "no such container" in user.run("exec", f"{name}-{other}", "id", status=125).stderr
    record = engine.inspect(f"{name}-s1")
    assert not record["HostConfig"]["Security"]["privileged"]
    user_refused = ada.run("course", "start", str(course), status=None)
    assert user_refused.returncode != 0 and "Traceback" not in user_refused.stderr
    assert set(states(engine, course).values()) == {"running"}


def test_a_container_that_a_student_labels_is_not_taken_for_anothers_machine(
    engine: PrivateEngine, course: Path
) -> None:
    """A user may label his own containers as he likes: another's work cannot be replaced with it."""
    name, bob = name_of(course), User(engine, "news")
    write(course, "id,user\ns1,games\ns2,news\n")
    bob.run(
        "create", "--name", f"{name}-s1", "--label", f"org.multios.course={name}", "--label",
        "org.multios.course.student=s1", "--label", "org.multios.course.template=small:1", "small:1", "sleep", "1000",
    )  # fmt: skip
    assert states(engine, course) == {"s1": "missing", "s2": "missing"}
    engine.run("course", "start", str(course))
    owners = {row["student"]: row["user"] for row in status(engine, course)}
    assert owners == {"s1": "games", "s2": "news"} and set(states(engine, course).values()) == {"running"}
    bob.run("delete", "--force", f"{name}-s1")


def test_a_network_that_a_student_calls_and_labels_so_is_not_taken_for_the_courses(
    engine: PrivateEngine, course: Path
) -> None:
    name, bob = name_of(course), User(engine, "news")
    label = f"org.multios.course={name}"
    bob.run("network", "create", f"course-{name}", "--label", label, "--internal", "--isolate")
    engine.run("course", "start", str(course))
    networks = engine.json("network", "ls")
    (own,) = [row for row in networks if row["name"] == f"course-{name}" and row["owner"] == 0]
    assert own["containers"] == 2
    engine.run("course", "wipe", "--yes", str(course))


def test_a_terminal_gets_a_bar(engine: PrivateEngine, course: Path) -> None:
    ours, theirs = os.openpty()
    process = engine.popen("course", "start", str(course), stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    process.communicate(timeout=60)
    drawn = b""
    with contextlib.suppress(OSError):  # its other end is closed, and all is read
        while True:
            drawn += os.read(ours, 65536)
    os.close(ours)
    shown = drawn.decode()
    assert process.returncode == 0 and "█" in shown and re.search(r"s[12] is number [12] of 2", shown)
    assert shown.endswith("\r\x1b[K")


def test_a_user_without_an_account_is_named_before_anything_is_made(
    engine: PrivateEngine, course: Path
) -> None:
    write(course, "id,user\ns1,\ns2,no-such-user\n")
    refused = engine.run("course", "start", str(course), status=125).stderr
    assert "students.csv:3: user: " in refused and "'no-such-user'" in refused
    assert f"{name_of(course)}-s1" not in engine.out("ps", "--all", "--format", "{{.Names}}")


def test_a_quota_that_is_full_is_said_for_that_student_and_the_others_get_theirs(
    engine: PrivateEngine, course: Path
) -> None:
    before = engine.config.read_text()
    engine.config.write_text(before + "\n[quotas.user.games]\ncontainers = 0\n")
    engine.daemon("reload")
    try:
        write(course, "id,user\ns1,games\ns2,news\n")
        failed = engine.run("course", "start", str(course), status=1)
        assert "1 of 2 machines" in failed.stdout and "games may have 0 containers" in failed.stderr
        assert states(engine, course) == {"s1": "missing", "s2": "running"}
    finally:
        engine.config.write_text(before)
        engine.daemon("reload")


def test_an_interrupt_leaves_what_is_made_and_the_next_start_makes_the_rest(
    engine: PrivateEngine, course: Path
) -> None:
    count = 60
    write(course, "id\n" + "".join(f"s{number}\n" for number in range(count)))
    process = engine.popen(
        "course", "start", "--at-once", "1", str(course), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

    def some_run() -> bool:
        return "running" in states(engine, course).values()

    eventually(some_run, "some machines run")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"what was made stays" in err, err
    running = sum(state == "running" for state in states(engine, course).values())
    assert 0 < running < count and f"{running} of {count} machines".encode() in out
    assert f"{count} of {count} machines" in engine.out("course", "start", str(course))


def test_a_whole_class_is_started_and_wiped(engine: PrivateEngine, course: Path) -> None:
    """Two processors are to need 8 s. This host may be busy with other tests, so it is their time that is bounded."""
    write(course, "id\n" + "".join(f"s{number:03}\n" for number in range(CLASS)))
    before, used = disk(engine), processor(engine)
    begun = time.monotonic()
    said = engine.run("course", "start", str(course), timeout=120)
    seconds, used = time.monotonic() - begun, processor(engine) - used
    assert f"{CLASS} of {CLASS} machines" in said.stdout, said
    assert used < 2 * 8, f"{CLASS} machines took {used:.1f} s of processor time"
    assert seconds < 60, f"{CLASS} machines took {seconds:.1f} s"
    assert (disk(engine) - before) / CLASS < 1_000_000
    assert set(states(engine, course).values()) == {"running"}
    wiped = engine.run("course", "wipe", "--yes", str(course), timeout=120).stdout
    assert f"{CLASS} machines, 1 network" in wiped and "is left" in wiped


def processor(engine: PrivateEngine) -> float:
    """Seconds of processor time of daemon, supervisor, what they have waited for, containers, and the clients."""
    clients = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for pid in (*engine.processes(), *(row["pid"] for row in engine.json("ps"))):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return clients.ru_utime + clients.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def disk(engine: PrivateEngine) -> int:
    """Bytes below the data root."""
    counted = subprocess.run(["du", "-s", "--block-size=1", engine.data_root], capture_output=True, text=True)
    return int(counted.stdout.split()[0])


def test_progress_is_plain_lines_where_there_is_no_terminal(engine: PrivateEngine, course: Path) -> None:
    write(course, "id\n" + "".join(f"s{number}\n" for number in range(40)))
    done = engine.run("course", "start", str(course), "--at-once", "1")
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    for line in done.stderr.splitlines():
        assert re.fullmatch(r"Starting: \S+ is number \d+ of 40(, about \d+ s left)?", line), line


def test_every_command_answers_json(engine: PrivateEngine, course: Path) -> None:
    engine.run("course", "start", str(course))
    assert json.loads(engine.out("course", "list", "--format", "json"))
    assert engine.out("course", "status", str(course), "--format", "{{.Student}}").split() == ["s1", "s2"]


def test_what_a_machine_is_made_of_is_looked_for_once_and_named_with_its_line(
    engine: PrivateEngine, course: Path
) -> None:
    file = course / "course.toml"
    whole = file.read_text()
    number = whole.splitlines().index('image = "small:1"') + 1
    for written, key, said in (
        ('image = "docker-archive:/nothing.tar"', "templates.image", "nothing.tar"),
        ('name = "python-lerning"', "templates.name", "no such template: 'python-lerning'"),
        ('name = "noop"\noptions = { colour = "red" }', "templates.options", "colour"),
    ):
        file.write_text(whole.replace('image = "small:1"\ncommand = ["sleep", "1000"]', written))
        line = number + written.count("\n")
        refused = engine.run("course", "start", str(course), status=125).stderr
        assert f"course.toml:{line}: {key}: " in refused and said in refused
        assert refused.count("Error: ") == 1
    assert "templates.options" in engine.run("course", "start", "--dry-run", str(course), status=125).stderr
    assert engine.json("course", "list") == []


def test_a_failure_that_all_machines_share_is_said_once(engine: PrivateEngine, course: Path) -> None:
    names = [f"{name_of(course)}-{student}" for student in ("s1", "s2")]
    for name in names:
        engine.run("create", "--name", name, "small:1")
    said = engine.run("course", "start", str(course), status=1).stderr
    assert said.count("Error: ") == 1 and " and 1 more: the container name " in said
    engine.run("delete", *names)


def test_machines_of_what_the_file_no_longer_names_are_told_before_any_is_made(
    engine: PrivateEngine, course: Path
) -> None:
    engine.run("course", "start", str(course))
    engine.run("tag", "small:1", "other:1")
    file = course / "course.toml"
    file.write_text(file.read_text().replace('"small:1"', '"other:1"'))
    refused = engine.run("course", "start", str(course), status=125).stderr
    name = name_of(course)
    assert f"{name}-s1 and 1 more are there already, made of small:1" in refused and "other:1" in refused
    assert f"multios-container course wipe {name}" in refused


def test_machines_of_students_who_are_not_in_the_roster_are_said(engine: PrivateEngine, course: Path) -> None:
    engine.run("course", "start", str(course))
    (course / "one.csv").write_text("id\ns1\n")
    said = engine.run("course", "status", "--roster", str(course / "one.csv"), str(course))
    assert f"{name_of(course)}-s2" in said.stdout and "not in the roster" in said.stderr
    assert not engine.run("course", "status", str(course)).stderr


def test_a_user_of_the_roster_without_an_account_is_named_with_the_line(
    engine: PrivateEngine, course: Path
) -> None:
    (course / "students.csv").write_text("id,user\ns1,\n\ns2,nobody-of-here\n")
    refused = engine.run("course", "validate", str(course), status=125).stderr
    assert "students.csv:4: user: there is no user 'nobody-of-here' on this host" in refused
