"""The conformance kit on core's own stand-ins: the suites without a kernel whole, the others their common part."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from multios.errors import NotFound
from multios.hookspecs import hookimpl
from multios.model.health import Health, HealthCheck
from multios.plugins.catalog import Catalog
from multios.testing import fakes, noop, runner
from multios.testing.base import DriverSuite
from multios.testing.hooks import HooksSuite
from multios.testing.image_source import ImageSourceDriverSuite
from multios.testing.orchestrator import OrchestratorDriverSuite
from multios.testing.template import TemplateDriverSuite
from multios.testing.template_converter import TemplateConverterDriverSuite


class TestFakeTemplate(TemplateDriverSuite):
    driver_type = fakes.FakeTemplate


class TestNoopTemplate(TemplateDriverSuite):
    driver_type = noop.NoopTemplate


class TestFakeTemplateConverter(TemplateConverterDriverSuite):
    driver_type = fakes.FakeTemplateConverter
    example = {"fake.template": "anything"}


class TestNoopTemplateConverter(TemplateConverterDriverSuite):
    driver_type = noop.NoopTemplateConverter


class TestFakeImageSource(ImageSourceDriverSuite):
    driver_type = fakes.FakeImageSource
    reference = "fake:1"
    offline = True


class TestNoopImageSource(ImageSourceDriverSuite):
    driver_type = noop.NoopImageSource


class TestFakeOrchestrator(OrchestratorDriverSuite):
    driver_type = fakes.FakeOrchestrator


class TestFakeIsolation(DriverSuite):
    driver_type = fakes.FakeIsolation


class TestNoopIsolation(DriverSuite):
    driver_type = noop.NoopIsolation


class TestFakeStorage(DriverSuite):
    driver_type = fakes.FakeStorage


class TestNoopStorage(DriverSuite):
    driver_type = noop.NoopStorage


class TestFakeNetwork(DriverSuite):
    driver_type = fakes.FakeNetwork


class TestNoopNetwork(DriverSuite):
    driver_type = noop.NoopNetwork


class TestFakeSecurity(DriverSuite):
    driver_type = fakes.FakeSecurity


class TestNoopSecurity(DriverSuite):
    driver_type = noop.NoopSecurity


class Observer:
    @hookimpl
    def multios_event(self, event: dict[str, object]) -> None:
        event["seen"] = True

    @hookimpl
    def multios_health_checks(self) -> Iterable[HealthCheck]:
        return [HealthCheck("observer", Health.OK, "looks on")]

    @hookimpl
    def multios_amend_spec(self, spec: dict[str, object]) -> None:
        spec["hostname"] = "observed"

    @hookimpl
    def multios_authorize(self, method: str) -> str | None:
        return "never" if method == "containers.create" else None


class TestHooksSuite(HooksSuite):
    plugin = Observer()


def test_the_runner_writes_a_suite_for_every_plugin_of_a_distribution() -> None:
    installed = Catalog()
    for distribution in installed.distributions():
        if distribution != "multios-core":
            source = runner.generate(installed, distribution)
            compile(source, distribution, "exec")
            assert source.count("class Test") == len(installed.declared(distribution))


def test_an_unknown_distribution_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFound) as caught:
        runner.generate(Catalog(), "multios-cor")
    assert "'multios-core'" in caught.value.remedy


def test_the_core_has_only_stand_ins_to_test() -> None:
    with pytest.raises(NotFound, match="stand-ins"):
        runner.run("multios-core")
