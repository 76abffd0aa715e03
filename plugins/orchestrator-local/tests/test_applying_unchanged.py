"""What an apply asks of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from multios.drivers.orchestrator import Action, ApplyOptions
from multios.model.app import App, Dependency, Service
from multios_orchestrator_local.applying import Applying


class NoEngine:
    """Nothing may be asked of it."""

    uid = 0

    def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        pytest.fail(f"{method} was called")

    def stream(self, method: str, params: dict[str, Any] | None = None) -> Iterator[Any]:
        pytest.fail(f"{method} was called")

    def rest(self, seconds: float) -> None:
        pytest.fail("there is nothing to wait for")


def test_what_is_unchanged_is_told_and_nothing_asked() -> None:
    container = {"image": "small:1"}
    app = App("shop", (Service("db", container), Service("web", container, depends_on=(Dependency("db"),))))
    plan = [
        Action("keep", "network", "shop_default", "unchanged"),
        Action("keep", "container", "shop-db-1", "unchanged", "db", 1),
        Action("keep", "container", "shop-web-1", "unchanged", "web", 1),
        Action("keep", "container", "shop-old-1", "there is no service 'old' in the file", "old", 1),
    ]
    told: list[tuple[Action, str]] = []
    Applying(NoEngine(), app, lambda action, what: told.append((action, what)), ApplyOptions()).run(plan)
    assert told == [(action, "done") for action in plan]
