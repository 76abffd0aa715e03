"""The conformance suite of templates.

A template's tests subclass :class:`TemplateDriverSuite` and name the driver class::

    class TestPython(TemplateDriverSuite):
        driver_type = PythonLearning

All of it is pure: nothing is built. Steps and services are only parsed by ``sh -n``.

``multios-container template test NAME`` is the other half: it builds the image and runs the checks in a container.
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
from multios.model.container_document import CAPABILITIES
from multios.model.json import from_json, to_json
from multios.model.template import SERVICES_PROGRAM, Parameter, TemplatePlan
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
        assert re.fullmatch(r"[A-Za-z0-9.+-]*( (AND|OR|WITH) [A-Za-z0-9.+-]+)*", plan.license), plan.license

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
            assert port.protocol in ("tcp", "udp", "sctp")
        for capability in plan.capabilities:
            assert capability in CAPABILITIES, "capabilities are named without CAP_"
        for device in plan.devices:
            assert device.startswith("/dev/")
        assert plan.network in ("", "none")

    def test_options_are_described_and_their_defaults_are_valid(self, driver: TemplateDriver) -> None:
        names = [item.name for item in driver.parameters()]
        assert len(set(names)) == len(names)
        for item in driver.parameters():
            assert item.description
            assert item.type in ("text", "choice", "integer", "boolean")
            assert not item.choices or item.default in item.choices
            driver.render({item.name: item.default})

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

    def test_a_value_out_of_bounds_or_of_another_type_is_refused_by_name(
        self, driver: TemplateDriver
    ) -> None:
        for item in driver.parameters():
            for value in _wrong_values(item):
                with pytest.raises(InvalidInput, match=re.escape(item.name)):
                    driver.render({item.name: value})

    def test_steps_and_services_are_valid_shell_whatever_the_options_say(
        self, driver: TemplateDriver
    ) -> None:
        for plan in self._plans(driver):
            commands = [line for item in plan.services for line in (item.prepare, item.command)]
            for script in (*plan.steps, *commands, *_scripts(plan)):
                done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{script}\n{done.stderr}"

    def test_checks_say_what_they_run(self, driver: TemplateDriver, plan: TemplatePlan) -> None:
        checks = plan.checks or driver.checks()
        names = [check.name for check in checks]
        assert names
        assert len(set(names)) == len(names)
        assert all(check.command for check in checks)
        assert all(check.timeout >= 1 for check in checks)

    def test_services_have_names_and_stay_in_an_init(self, plan: TemplatePlan) -> None:
        names = [service.name for service in plan.services]
        assert len(set(names)) == len(names)
        if names:
            assert SERVICES_PROGRAM in plan.files
            assert all(service.command for service in plan.services)

    def test_the_files_for_the_root_are_in_order_and_the_plan_knows_them(
        self, driver: TemplateDriver, plan: TemplatePlan
    ) -> None:
        rootfs = driver.rootfs()
        assert plan.rootfs == (rootfs.fingerprint if rootfs else "")

    def test_the_lesson_is_markdown_with_a_title(self, driver: TemplateDriver) -> None:
        assert re.match(r"# \S", driver.lesson())

    def _plans(self, driver: TemplateDriver) -> Iterator[Any]:
        yield driver.render({})
        for item in driver.parameters():
            for value in item.choices or (*HOSTILE, *(str(bound) for bound in _bounds(item))):
                try:
                    yield driver.render({item.name: value})
                except InvalidInput as error:
                    assert item.name in error.cause  # refusing is fine, by name


def _bounds(item: Parameter) -> list[int]:
    return [bound for bound in (item.minimum, item.maximum) if bound is not None]


def _wrong_values(item: Parameter) -> list[str]:
    if item.type == "integer":
        beyond = [str(item.minimum - 1)] if item.minimum is not None else []
        beyond += [str(item.maximum + 1)] if item.maximum is not None else []
        return [*beyond, "1.5", "many", ""]
    return ["perhaps", ""] if item.type == "boolean" else []


def _scripts(plan: TemplatePlan) -> list[str]:
    """The files of a plan that are for the shell."""
    return [text for text in plan.files.values() if text.startswith("#!/bin/sh\n")]
