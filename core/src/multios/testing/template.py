"""The conformance suite of templates.

A template's tests subclass :class:`TemplateDriverSuite` and name the driver class::

    class TestPython(TemplateDriverSuite):
        driver_type = PythonLearning

All of it is pure: nothing is built. The steps are only parsed by ``sh -n``.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from multios.drivers.template import TemplateDriver
from multios.errors import InvalidInput
from multios.model.json import from_json, to_json
from multios.model.template import TemplatePlan
from multios.testing.base import DriverSuite

HOSTILE = ("'", '"', "`id`", "$(id)", "; false", "a\nb", "\\", "../../etc", "&& false #")


class TemplateDriverSuite(DriverSuite):
    """What every template must do."""

    @pytest.fixture
    def plan(self, driver: TemplateDriver) -> TemplatePlan:
        """The plan with every option at its default."""
        return driver.render({})

    def test_the_plan_is_complete(self, driver: TemplateDriver, plan: TemplatePlan) -> None:
        assert plan.name == driver.name
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)*\S*", plan.version), plan.version
        assert plan.description
        assert plan.base
        assert plan.command
        assert plan.working_directory.startswith("/")

    def test_the_plan_is_plain_data(self, plan: TemplatePlan) -> None:
        assert from_json(TemplatePlan, to_json(plan)) == plan

    def test_rendering_is_pure(self, driver: TemplateDriver, plan: TemplatePlan) -> None:
        assert driver.render({}) == plan
        assert driver.render({item.name: item.default for item in driver.parameters()}) == plan

    def test_files_go_to_absolute_paths_without_detours(self, plan: TemplatePlan) -> None:
        for path, text in plan.files.items():
            assert path.startswith("/")
            assert posixpath.normpath(path) == path
            assert isinstance(text, str)

    def test_names_and_ports_are_valid(self, plan: TemplatePlan) -> None:
        for name in plan.environment:
            assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        for port in plan.ports:
            assert 1 <= port.container <= 65535
            assert port.protocol in ("tcp", "udp")
        for capability in plan.capabilities:
            assert not capability.startswith("CAP_"), "capabilities are named without CAP_"

    def test_options_are_described_and_their_defaults_are_valid(self, driver: TemplateDriver) -> None:
        names = [item.name for item in driver.parameters()]
        assert len(set(names)) == len(names)
        for item in driver.parameters():
            assert item.description
            assert not item.choices or item.default in item.choices

    def test_every_choice_renders(self, driver: TemplateDriver) -> None:
        for item in driver.parameters():
            for choice in item.choices:
                driver.render({item.name: choice})

    def test_an_unknown_option_is_refused_by_name(self, driver: TemplateDriver) -> None:
        with pytest.raises(InvalidInput, match="no_such_option"):
            driver.render({"no_such_option": "1"})

    def test_a_value_that_is_no_choice_is_refused_by_name(self, driver: TemplateDriver) -> None:
        for item in driver.parameters():
            if item.choices:
                with pytest.raises(InvalidInput, match=re.escape(item.name)):
                    driver.render({item.name: "no such choice"})

    def test_steps_are_valid_shell_whatever_the_options_say(self, driver: TemplateDriver) -> None:
        for plan in self._plans(driver):
            for step in plan.steps:
                done = subprocess.run(["sh", "-n", "-c", step], capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{step}\n{done.stderr}"

    def test_checks_say_what_they_run(self, driver: TemplateDriver) -> None:
        names = [check.name for check in driver.checks()]
        assert names
        assert len(set(names)) == len(names)
        assert all(check.command for check in driver.checks())

    def test_the_lesson_is_markdown_with_a_title(self, driver: TemplateDriver) -> None:
        assert re.match(r"# \S", driver.lesson())

    def _plans(self, driver: TemplateDriver) -> Iterator[Any]:
        yield driver.render({})
        for item in driver.parameters():
            for value in item.choices or HOSTILE:
                try:
                    yield driver.render({item.name: value})
                except InvalidInput as error:
                    assert item.name in error.cause  # refusing is fine, by name
