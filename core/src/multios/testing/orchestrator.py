"""The conformance suite of orchestrators.

An orchestrator's tests subclass :class:`OrchestratorDriverSuite`, name the driver class and override ``app``,
``changed_app`` and ``existing`` where its documents look otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from multios.drivers.orchestrator import Action, OrchestratorDriver
from multios.testing.base import DriverSuite

VERBS = ("create", "recreate", "remove", "keep")


class OrchestratorDriverSuite(DriverSuite):
    """What every orchestrator must do."""

    @pytest.fixture
    def app(self) -> dict[str, Any]:
        """An app of two services."""
        return {"name": "suite", "services": {"web": {"image": "debian:12"}, "db": {"image": "debian:12"}}}

    @pytest.fixture
    def changed_app(self) -> dict[str, Any]:
        """The same with ``web`` changed, ``db`` gone and ``cache`` new."""
        return {"name": "suite", "services": {"web": {"image": "debian:13"}, "cache": {"image": "debian:12"}}}

    @pytest.fixture
    def existing(self, app: dict[str, Any]) -> dict[str, Any]:
        """What there is when ``app`` runs as it was asked for."""
        return app

    def test_planning_is_pure(
        self, driver: OrchestratorDriver, app: dict[str, Any], existing: dict[str, Any]
    ) -> None:
        before = copy.deepcopy((app, existing))
        assert driver.plan(app, existing) == driver.plan(app, existing)
        assert (app, existing) == before

    def test_a_new_app_is_created(self, driver: OrchestratorDriver, app: dict[str, Any]) -> None:
        assert self._verbs(driver.plan(app, {})) == {"web": "create", "db": "create"}

    def test_an_app_as_it_should_be_is_kept(
        self, driver: OrchestratorDriver, app: dict[str, Any], existing: dict[str, Any]
    ) -> None:
        assert set(self._verbs(driver.plan(app, existing)).values()) <= {"keep"}

    def test_a_change_touches_what_changed(
        self, driver: OrchestratorDriver, changed_app: dict[str, Any], existing: dict[str, Any]
    ) -> None:
        verbs = self._verbs(driver.plan(changed_app, existing))
        assert verbs == {"web": "recreate", "db": "remove", "cache": "create"}

    def test_every_action_gives_its_reason(
        self, driver: OrchestratorDriver, changed_app: dict[str, Any], existing: dict[str, Any]
    ) -> None:
        for action in driver.plan(changed_app, existing):
            assert action.verb in VERBS
            assert action.reason

    def test_applying_twice_is_as_applying_once(
        self, driver: OrchestratorDriver, app: dict[str, Any]
    ) -> None:
        plan = driver.plan(app, {})
        driver.apply(app, plan)
        driver.apply(app, plan)
        driver.destroy(app["name"])

    def test_destroying_what_is_not_there_is_no_error(
        self, driver: OrchestratorDriver, app: dict[str, Any]
    ) -> None:
        driver.destroy(app["name"])
        driver.apply(app, driver.plan(app, {}))
        driver.destroy(app["name"])
        driver.destroy(app["name"])

    @staticmethod
    def _verbs(plan: tuple[Action, ...]) -> Mapping[str, str]:
        return {action.subject: action.verb for action in plan}
