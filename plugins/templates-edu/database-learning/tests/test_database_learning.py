"""The template database-learning: the kit's suite, and what its plan promises."""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.model.container import Resources
from multios.testing.template import TemplateDriverSuite
from multios_template_database_learning import DatabaseLearning

ROOTFS = resources.files("multios_template_database_learning") / "rootfs"


class TestDatabaseLearning(TemplateDriverSuite):
    driver_type = DatabaseLearning


@pytest.fixture
def template(tmp_path: Path) -> DatabaseLearning:
    return DatabaseLearning(None, DriverContext(tmp_path, tmp_path))


def test_a_container_gets_two_cores_and_two_gigabytes_and_no_privileges(template: DatabaseLearning) -> None:
    plan = template.render({})
    assert plan.base == "debian:12"
    assert plan.resources == Resources(cpu_limit=2.0, memory_limit=2 * 2**30)
    assert [port.container for port in plan.ports] == [3306, 5432, 6379]
    assert plan.capabilities == () and plan.devices == () and plan.seccomp_profile == ""


def test_every_base_installs_the_three_servers_and_their_clients(template: DatabaseLearning) -> None:
    for base in template.parameters()[0].choices:
        packages = template.render({"base": base}).packages
        for package in (
            "mariadb-server",
            "mariadb-client",
            "postgresql",
            "postgresql-client",
            "redis-server",
            "redis-tools",
        ):
            assert package in packages, (base, package)
        assert ("mariadb-client-compat" in packages) == (base == "debian:13"), base


def test_its_init_runs_the_servers_and_each_says_when_it_is_ready(template: DatabaseLearning) -> None:
    plan = template.render({})
    assert plan.command == ("/usr/local/sbin/multios-services",)
    assert [service.name for service in plan.services] == ["mariadb", "postgresql", "redis"]
    assert all(service.ready for service in plan.services)


def test_the_sample_school_is_plain_sql() -> None:
    with sqlite3.connect(":memory:") as database:  # neither server's own dialect
        database.executescript((ROOTFS / "usr/local/lib/learning/school.sql").read_text())
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        silent = database.execute(
            "SELECT name FROM pupil LEFT JOIN mark ON id = pupil_id WHERE points IS NULL"
        )
        assert silent.fetchall() == [("Tycho",)], "the lesson asks for the one pupil without a mark"
        unheard = database.execute(
            "SELECT title FROM course LEFT JOIN mark ON id = course_id WHERE points IS NULL"
        )
        assert unheard.fetchall() == [("Latin",)], "the lesson says that nobody has a mark in Latin"


def test_mongodb_is_there_on_the_one_base_whose_archive_has_it(template: DatabaseLearning) -> None:
    for base in template.parameters()[0].choices:
        plan = template.render({"base": base})
        has = (
            "mongodb-server" in plan.packages,
            "mongodb" in [service.name for service in plan.services],
            any("MongoDB" in check.name for check in plan.checks),
        )
        assert set(has) == {base == "ubuntu:20.04"}, base


def test_the_lesson_and_the_readme_say_where_mongodb_is_not(template: DatabaseLearning) -> None:
    readme = Path(__file__).parents[1] / "README.md"
    for text in (template.lesson(), readme.read_text()):
        assert "MongoDB" in text
    assert re.search(r"Debian 12 and 13", readme.read_text())
