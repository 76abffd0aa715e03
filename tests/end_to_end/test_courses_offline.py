"""A course in one file: made here, installed where there is no network, no plugin and no image of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from elsewhere import WITHOUT_NETWORK, Elsewhere

TEMPLATE = '''
"""A template of the tests."""

from multios.drivers.template import TemplateDriver
from multios.model.template import TemplatePlan


class Greeting(TemplateDriver):
    name = "greeting"

    def parameters(self):
        return ()

    def render(self, values):
        return TemplatePlan(
            name=self.name, version="1.0", description="Says hello", base="small:1",
            steps=("echo hello from the bundle > /greeting",), command=("/bin/sh",),
        )

    def checks(self):
        return ()

    def lesson(self):
        return "# Hello"
'''
COURSE = """
schema = 1
name = "offline"
title = "Without a network"
version = "1.0"
roster = "students.csv"
[[plugins]]
distribution = "multios-template-greeting"
version = "1.0"
[[templates]]
name = "greeting"
[[labs]]
path = "labs/first"
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    engine = Elsewhere(tmp_path_factory.mktemp("teacher"))
    points = '[project.entry-points."multios.template.v1"]\ngreeting = "multios_template_greeting:Greeting"'
    engine.install("multios-template-greeting", points, TEMPLATE)
    engine.start()
    engine.import_small_image()
    yield engine
    engine.end()


@pytest.fixture(scope="module")
def course(teacher: Elsewhere) -> Path:
    folder = teacher.directory / "course"
    (folder / "labs/first").mkdir(parents=True)
    (folder / "course.toml").write_text(COURSE)
    (folder / "students.csv").write_text("id,name\ns1,Ada Lovelace\n")
    (folder / "labs/first/lab.toml").write_text('name = "first"\n')
    check = folder / "labs/first/check.sh"
    check.write_text("#!/bin/sh\n")
    check.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def bundle(teacher: Elsewhere, course: Path) -> tuple[Path, str]:
    """The file and its digest."""
    file = teacher.directory / "offline.bundle"
    said = teacher.out("course", "bundle", str(course), "-o", str(file), timeout=200)
    return file, said.splitlines()[-1]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Elsewhere]:
    """A classroom's host: its daemon, and every command there, in a network namespace without an interface that is up."""
    routes = subprocess.run([*WITHOUT_NETWORK, "ip", "route"], capture_output=True, text=True, check=True)
    assert routes.stdout == ""
    engine = Elsewhere(tmp_path, WITHOUT_NETWORK)
    engine.start()
    yield engine
    engine.end()


def test_a_bundle_brings_all_of_a_course_to_a_room_without_a_network(
    room: Elsewhere, bundle: tuple[Path, str], tmp_path: Path
) -> None:
    file, digest = bundle
    (tmp_path / "students.csv").write_text("id\ns1\ns2\n")
    assert "greeting" not in room.installed()
    target = tmp_path / "term"
    said = room.run("course", "install", str(file), "--to", str(target), "--sha256", digest, timeout=200)
    assert "installed multios-template-greeting 1.0" in said.stdout and "is ready" in said.stdout
    assert (target / "labs/first/check.sh").stat().st_mode & 0o777 == 0o755
    assert not (target / "students.csv").exists()
    room.restart()
    started = room.out("course", "start", str(target), "--students", str(tmp_path / "students.csv"))
    assert "2 of 2 machines" in started
    assert room.out("exec", "offline-s2", "cat", "/greeting") == "hello from the bundle"
    again = room.out("course", "install", str(file), "--to", str(target), timeout=200)
    assert "installed multios" not in again and "is ready" in again
    room.run("course", "wipe", "offline", "--yes")


def test_a_bundle_is_the_same_each_time_and_without_names_of_people(
    teacher: Elsewhere, course: Path, bundle: tuple[Path, str]
) -> None:
    second = teacher.directory / "second.bundle"
    assert teacher.out("course", "bundle", str(course), "-o", str(second), timeout=200).endswith(bundle[1])
    assert second.read_bytes() == bundle[0].read_bytes()
    assert b"Lovelace" not in second.read_bytes()
    teacher.run("course", "bundle", str(course), "-o", str(second), "--with-roster", timeout=200)
    assert b"Lovelace" in second.read_bytes()


def test_what_was_cut_or_changed_is_named_and_nothing_is_installed(
    room: Elsewhere, bundle: tuple[Path, str], tmp_path: Path
) -> None:
    data = bundle[0].read_bytes()
    broken, before = tmp_path / "broken.bundle", room.installed()
    position = data.index(b"PK\x03\x04") + 100
    for changed, words in (
        (data[: len(data) // 2], "it was cut"),
        (
            data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :],
            "its digest is not the manifest's",
        ),
        (b"no bundle at all", "cut"),
    ):
        broken.write_bytes(changed)
        refused = room.run("course", "install", str(broken), "--to", str(tmp_path / "t"), status=125)
        assert words in refused.stderr and "nothing was installed" in refused.stderr, refused.stderr
    other = room.run("course", "install", str(bundle[0]), "--sha256", "0" * 64, status=125)
    assert "its digest is" in other.stderr
    assert room.installed() == before and not (tmp_path / "t").exists()
    assert room.json("images") == []


def test_what_is_there_is_not_overwritten(room: Elsewhere, bundle: tuple[Path, str], tmp_path: Path) -> None:
    target = tmp_path / "term"
    target.mkdir()
    (target / "course.toml").write_text("mine")
    refused = room.run("course", "install", str(bundle[0]), "--to", str(target), status=125)
    assert "differs from the bundle's" in refused.stderr and (target / "course.toml").read_text() == "mine"
    assert "greeting" not in room.installed()


def test_only_the_plugins_of_the_course_are_brought_from_where_wheels_lie(
    room: Elsewhere, teacher: Elsewhere, course: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "course"
    shutil.copytree(course, copy)
    (tmp_path / "wheels").mkdir()
    refused = room.run("course", "install", str(copy), "--no-index", status=125)
    assert "multios-template-greeting==1.0" in refused.stderr
    subprocess.run(
        teacher.python(
            "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir",
            str(tmp_path / "wheels"), str(teacher.directory / "multios-template-greeting"),
        ),
        check=True,
    )  # fmt: skip
    before = set(room.installed().splitlines())
    room.run(
        "course", "install", str(copy), "--no-index", "--find-links", str(tmp_path / "wheels"), timeout=200
    )
    assert set(room.installed().splitlines()) - before == {"multios-template-greeting==1.0"}


def test_a_lock_is_kept_to_and_the_line_that_cannot_be_met_is_named(
    teacher: Elsewhere, course: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "course"
    shutil.copytree(course, copy)
    lock, file = copy / "greeting.lock", copy / "course.toml"
    teacher.run("template", "lock", "greeting", "--output", str(lock), timeout=200)
    file.write_text(
        file.read_text().replace('name = "greeting"', 'name = "greeting"\nlock = "greeting.lock"')
    )
    target = tmp_path / "locked.bundle"
    teacher.run("course", "bundle", str(copy), "-o", str(target), timeout=200)
    assert b"course/greeting.lock" in target.read_bytes()
    target.unlink()
    digest = lock.read_text().split('base_digest = "sha256:')[1][:64]
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    refused = teacher.run("course", "bundle", str(copy), "-o", str(target), status=125, timeout=200)
    assert "greeting.lock:" in refused.stderr and f"the base sha256:{'0' * 64}" in refused.stderr
    assert not target.exists()
