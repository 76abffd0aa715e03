"""The template web-learning: the kit's suite, what its plan promises, and whether its programs can be read at all."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.model.container import Resources
from multios.testing.template import TemplateDriverSuite
from multios_template_web_learning import WebLearning

ROOTFS = resources.files("multios_template_web_learning") / "rootfs"


class TestWebLearning(TemplateDriverSuite):
    driver_type = WebLearning


@pytest.fixture
def template(tmp_path: Path) -> WebLearning:
    return WebLearning(None, DriverContext(tmp_path, tmp_path))


def test_a_container_gets_two_cores_and_two_gigabytes_and_no_privileges(template: WebLearning) -> None:
    plan = template.render({})
    assert plan.base == "debian:12"
    assert plan.resources == Resources(cpu_limit=2.0, memory_limit=2 * 2**30)
    assert [port.container for port in plan.ports] == [80]
    assert plan.capabilities == () and plan.devices == () and plan.seccomp_profile == ""


def test_every_base_installs_the_whole_stack(template: WebLearning) -> None:
    for base in template.parameters()[0].choices:
        packages = template.render({"base": base}).packages
        for package in (
            "apache2",
            "libapache2-mod-php",
            "php-mysql",
            "mariadb-server",
            "nodejs",
            "python3-flask",
        ):
            assert package in packages, (base, package)
        assert ("mariadb-client-compat" in packages) == (base == "debian:13"), base


def test_its_init_runs_the_servers_and_each_says_when_it_is_ready(template: WebLearning) -> None:
    plan = template.render({})
    assert plan.command == ("/usr/local/sbin/multios-services",)
    assert [service.name for service in plan.services] == ["mariadb", "node", "python", "apache"]
    assert all(service.ready for service in plan.services)


def test_what_needs_a_server_is_checked_in_a_started_container_alone(template: WebLearning) -> None:
    for check in template.checks():
        assert check.running == ("curl" in str(check.command) or check.command[-1] == "start"), check.name


def test_programs_and_scripts_are_written_correctly() -> None:
    compile((ROOTFS / "srv/python/app.py").read_text(), "app.py", "exec")
    for name in ("usr/local/sbin/serve-mariadb", "usr/local/lib/learning/prepare-web"):
        assert (ROOTFS / name).read_text().startswith("#!/bin/sh\n")


def test_the_lesson_names_every_service_and_only_files_that_are_there(template: WebLearning) -> None:
    lesson = template.lesson()
    for service in template.render({}).services:
        assert service.name in lesson.lower()
    for named in re.findall(r"`/(srv/[a-z/.]+|var/www/html/(?:index|style)\.[a-z]+)`", lesson):
        assert (ROOTFS / named).is_file(), named
