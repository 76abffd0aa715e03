"""Courses for an orchestrator: what a file comes to, what a plan comes to, what is heard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.cli.context import Context
from multios.drivers.orchestrator import Action
from multios.errors import InvalidInput, Unsupported
from multios.model.course import Course as Record
from multios_courses import course_file, course_records, orchestrated, orchestrated_start, roster
from multios_courses.course_records import Wishes
from multios_courses.roster import MOST_ON_A_CLUSTER, Student

DIGEST = "registry.example.org/small@sha256:" + "a" * 64
HEAD = 'schema = 1\nname = "intro"\ntitle = "t"\nversion = "1.0!b"\n'
CLASS = (Student("s1", user="ada"), Student("s2"))
ALONE = Wishes()


def records(tmp_path: Path, more: str, wishes: Wishes = ALONE) -> list[Record]:
    """Those of a course; nothing is asked of a daemon, because nothing is pushed."""
    file = tmp_path / "course.toml"
    file.write_text(HEAD + more)
    return course_records.build(Context("/nowhere"), course_file.load(file), CLASS, wishes, push=False)


def test_an_image_with_its_digest_is_taken_as_it_is(tmp_path: Path) -> None:
    more = f'[[templates]]\nimage = "{DIGEST}"\n[quota]\nmemory = "1GB"\ncpus = 2\ndisk = "3GB"\n'
    (record,) = records(tmp_path, more, Wishes(at_once=7, warm=3))
    assert record.image == DIGEST
    assert record.command == ()
    assert (record.part, record.machine("s1"), record.students) == ("", "intro-s1", ("s1", "s2"))
    assert (record.quota.cpu, record.quota.memory, record.quota.storage) == (2, 1 << 30, 3 << 30)
    assert (record.network, record.at_once, record.warm, record.quota.pods) == ("isolated", 7, 3, 1)
    assert not course_records.is_unknown(record)


def test_several_templates_share_the_quota_and_are_called_as_on_a_host(tmp_path: Path) -> None:
    more = f'[[templates]]\nname = "python-learning"\n[[templates]]\nimage = "{DIGEST}"\n[quota]\nmemory = "1GB"\n'
    first, second = records(tmp_path, more, Wishes("registry.example.org/courses/"))
    assert first.machine("s1") == "intro-s1-python-learning"
    assert second.machine("s1") == "intro-s1-machine2"
    assert first.quota.memory == second.quota.memory == 1 << 29
    assert first.image.startswith("registry.example.org/courses/intro-python-learning@sha256:")
    assert course_records.is_unknown(first)


@pytest.mark.parametrize("policy", course_file.POLICIES)
def test_every_policy_of_a_file_is_one_of_a_record(tmp_path: Path, policy: str) -> None:
    more = f'[[templates]]\nimage = "{DIGEST}"\n[network]\npolicy = "{policy}"\n'
    assert records(tmp_path, more)[0].network == policy


def test_without_a_registry_an_image_without_a_digest_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"course.toml:6: templates.name: 'python-learning' has no digest"):
        records(tmp_path, '[[templates]]\nname = "python-learning"\n')


def test_what_is_otherwise_on_a_cluster_is_said(tmp_path: Path) -> None:
    file = tmp_path / "course.toml"
    file.write_text(HEAD + "[quota]\nprocesses = 5\n[dates]\nbegins = 2026-10-01\n")
    said = "\n".join(course_records.unmapped(course_file.load(file), CLASS))
    for words in ("1 students with one", "processes", "memory", "cpus", "quota.disk", "dates", "as root"):
        assert words in said


def action(verb: str, student: str, number: int = 0) -> Action:
    return Action(verb, "Thing", f"intro-{student}", "because", student, number)


def test_a_plan_is_counted_student_by_student() -> None:
    def plan() -> Iterator[Action]:
        yield action("create", "")
        yield from (action("create", "a"), action("create", "a", 1))
        yield from (action("keep", "b"), action("start", "b", 1))
        yield from (action("keep", "c"), action("recreate", "c", 1))
        yield from (action("recreate", "d"), action("keep", "d", 1))
        yield from (action("keep", "e"), action("keep", "e", 1))
        yield action("keep", "left")

    planned = orchestrated_start.count(plan(), Record("intro", tuple("abcde"), DIGEST))
    assert (planned.created, planned.started, planned.changed, planned.kept) == (1, 1, 1, 1)
    assert planned.replaced == ["intro-c"]
    assert planned.common and planned.to_do == 5
    assert [item.subject for item in planned.first] == ["intro-a", "intro-a"]


def test_who_is_served_is_heard_and_who_is_kept_is_not() -> None:
    progress = orchestrated.Progress("Starting", 3)
    for verb, student, what in (
        ("create", "", "begun"), ("create", "", "done"), ("keep", "a", "done"), ("create", "b", "begun"),
        ("create", "b", "done"), ("create", "c", "begun"), ("create", "c", "no place is free"),
    ):  # fmt: skip
        progress(action(verb, student), what)
    assert progress.outcome.done == ["intro-b"]
    assert [(name, error.cause) for name, error in progress.outcome.failed] == [
        ("intro-c", "no place is free")
    ]
    assert progress.others == ["Thing"]
    assert orchestrated.counted(["A", "B", "A"]) == "2 A, 1 B"


def test_an_orchestrator_of_the_daemon_runs_no_courses() -> None:
    with pytest.raises(Unsupported, match="'local' runs no courses"):
        orchestrated.driver("local", ())


def test_a_cluster_takes_ten_thousand_students_and_a_host_does_not(tmp_path: Path) -> None:
    file = tmp_path / "students.csv"
    file.write_text("id\n" + "".join(f"s{number}\n" for number in range(MOST_ON_A_CLUSTER)))
    assert len(roster.load(file, MOST_ON_A_CLUSTER)) == MOST_ON_A_CLUSTER
    with pytest.raises(InvalidInput, match="more than 1000 students"):
        roster.load(file)
    with file.open("a") as more:
        more.write("one-more\n")
    with pytest.raises(InvalidInput, match=f"more than {MOST_ON_A_CLUSTER} students"):
        roster.load(file, MOST_ON_A_CLUSTER)
