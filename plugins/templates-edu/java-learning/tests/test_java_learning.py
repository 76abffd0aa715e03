"""The template java-learning: the kit's suite, and what its plan promises."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import multios_template_java_learning
from multios.drivers.base import DriverContext
from multios.model.container import Resources
from multios.testing.template import TemplateDriverSuite
from multios_template_java_learning import JavaLearning

ROOTFS = Path(multios_template_java_learning.__file__).parent / "rootfs"
REPOSITORY = "file:///usr/share/maven-repo"


class TestJavaLearning(TemplateDriverSuite):
    driver_type = JavaLearning


@pytest.fixture
def template(tmp_path: Path) -> JavaLearning:
    return JavaLearning(None, DriverContext(tmp_path, tmp_path))


def test_a_container_gets_two_cores_two_gigabytes_and_no_further_right(template: JavaLearning) -> None:
    plan = template.render({})
    assert plan.resources == Resources(cpu_limit=2.0, memory_limit=2 * 2**30)
    assert plan.base == "debian:12"
    assert plan.capabilities == ()


def test_every_base_installs_java_of_its_own_release_with_both_builders(template: JavaLearning) -> None:
    expected = {
        "debian:12": 17,
        "debian:13": 21,
        "ubuntu:20.04": 11,
        "ubuntu:22.04": 11,
        "ubuntu:24.04": 17,
    }
    assert set(template.parameters()[0].choices) == set(expected)
    for base, release in expected.items():
        packages = template.render({"base": base}).packages
        assert {f"openjdk-{release}-jdk-headless", "maven", "gradle", "junit4"} <= set(packages), base


def test_every_plugin_of_the_usual_phases_is_installed(template: JavaLearning) -> None:
    for base in template.parameters()[0].choices:
        packages = " ".join(template.render({"base": base}).packages)
        for plugin in ("clean-plugin", "resources-plugin", "compiler-plugin", "surefire", "jar-plugin"):
            assert plugin in packages, (base, plugin)


def test_maven_offline_reads_the_repository_of_the_packages(template: JavaLearning) -> None:
    assert "-Daether.offline.protocols=file" in template.render({}).environment["MAVEN_OPTS"]
    settings = ElementTree.parse(ROOTFS / "etc/maven/settings.xml")
    namespace = {"m": "http://maven.apache.org/SETTINGS/1.2.0"}
    for kind in ("repositories/m:repository", "pluginRepositories/m:pluginRepository"):
        found = settings.findall(f"m:profiles/m:profile/m:{kind}/m:url", namespace)
        assert [url.text for url in found] == [REPOSITORY]
    active = settings.findtext("m:activeProfiles/m:activeProfile", namespaces=namespace)
    assert active == settings.findtext("m:profiles/m:profile/m:id", namespaces=namespace)


def test_the_lesson_begins_with_the_project_that_is_there(template: JavaLearning) -> None:
    project = ROOTFS / "usr/local/share/java-learning/hello"
    for path in ("pom.xml", "src/main/java/school/Hello.java", "src/test/java/school/HelloTest.java"):
        assert (project / path).is_file()
        assert path in template.lesson()
