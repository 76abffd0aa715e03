"""Plans as they are done by a real engine, where what is there is not as an earlier plan has left it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine_calls import EngineCalls
from multios.drivers.orchestrator import Action, ApplyOptions, DestroyOptions, PlanOptions
from multios.errors import Conflict, NotFound
from multios.model.app import App, AppNetwork, AppVolume, Dependency, Instance, Service, UpdatePolicy
from multios_orchestrator_local import existing
from multios_orchestrator_local.applying import Applying
from multios_orchestrator_local.destroying import destroy
from multios_orchestrator_local.planning import plan
from multios_orchestrator_local.replacing import document

pytestmark = pytest.mark.needs_root
WEB = Service("web", {"image": "small:1", "command": ["sleep", "1000"], "stop_timeout": 0})
APP = App("applied", (WEB,))
ANYHOW, PLAINLY = PlanOptions(), ApplyOptions()


@pytest.fixture(autouse=True)
def nothing_left(calls: EngineCalls) -> Iterator[None]:
    yield
    destroy(calls, APP.name, lambda action, what: None, DestroyOptions(stop_timeout=0))
    assert existing.rows(calls, APP.name) == []


def up(
    calls: EngineCalls, app: App, options: PlanOptions = ANYHOW, how: ApplyOptions = PLAINLY
) -> list[tuple[str, str]]:
    """Plan and apply; what was begun."""
    begun: list[tuple[str, str]] = []

    def told(action: Action, what: str) -> None:
        if what == "begun":
            begun.append((action.verb, action.subject))

    Applying(calls, app, told, how).run(plan(app, existing.read(calls, app), options))
    return begun


def there(calls: EngineCalls) -> dict[str, Instance]:
    return {item.name: item for item in existing.instances(calls, APP.name)}


def changed(**fields: Any) -> App:
    return replace(APP, services=(replace(WEB, container={**WEB.container, **fields}),))


def test_of_two_with_one_number_the_one_that_stays_is_replaced_and_the_other_goes(calls: EngineCalls) -> None:
    up(calls, APP)
    calls.call("containers.rename", {"ref": "applied-web-1", "name": "applied-web-1-old-123456"})
    calls.call("containers.create", {"config": document(APP, WEB, 1)})  # an ended replacement leaves this
    done = up(calls, changed(hostname="other"))
    assert done == [("remove", "applied-web-1-old-123456"), ("recreate", "applied-web-1")]
    assert {(name, item.status) for name, item in there(calls).items()} == {("applied-web-1", "running")}


def test_one_that_was_renamed_is_started_under_the_name_that_it_has(calls: EngineCalls) -> None:
    up(calls, APP)
    calls.call("containers.rename", {"ref": "applied-web-1", "name": "applied-other"})
    calls.call("containers.stop", {"ref": "applied-other", "timeout": 0})
    assert up(calls, APP, PlanOptions(no_recreate=True)) == [("start", "applied-web-1")]
    assert there(calls)["applied-other"].status == "running"
    assert up(calls, APP) == [("recreate", "applied-web-1")]
    assert set(there(calls)) == {"applied-web-1"}


def test_what_cannot_be_replaced_runs_on_under_its_name(calls: EngineCalls) -> None:
    up(calls, APP)
    before = there(calls)
    with pytest.raises(Exception, match="nothing-here"):
        up(calls, changed(command=["/nothing-here"]))
    assert there(calls) == before


@pytest.mark.parametrize(
    "wanted", [changed(hostname="other"), replace(APP, services=(replace(WEB, replicas=0),))]
)
def test_what_somebody_has_removed_since_the_plan_is_no_riddle(calls: EngineCalls, wanted: App) -> None:
    up(calls, APP)
    actions = plan(wanted, existing.read(calls, wanted), PlanOptions())
    calls.call("containers.delete", {"ref": "applied-web-1", "force": True})
    work = Applying(calls, wanted, lambda action, what: None, PLAINLY)
    if wanted.services[0].replicas:
        with pytest.raises(NotFound, match="'applied-web-1' is gone meanwhile"):
            work.run(actions)
    else:
        work.run(actions)


def test_a_pace_is_kept(calls: EngineCalls) -> None:
    begun = time.monotonic()
    up(calls, replace(APP, services=(replace(WEB, replicas=6),)), how=ApplyOptions(rate=4, burst=2))
    assert time.monotonic() - begun >= 1


def test_an_update_goes_on_or_pauses_at_the_first_that_fails(calls: EngineCalls) -> None:
    dying = {**WEB.container, "command": ["false"]}
    for action, tried in (("pause", 1), ("continue", 3)):
        policy = UpdatePolicy(monitor=0.3, failure_action=action)
        app = replace(APP, services=(replace(WEB, replicas=3, update=policy),))
        up(calls, app)
        failing = replace(app, services=(replace(app.services[0], container=dying),))
        begun: list[str] = []
        actions = plan(failing, existing.read(calls, failing), PlanOptions())
        with pytest.raises(Conflict, match="ended with status 1"):
            Applying(
                calls,
                failing,
                lambda item, what, begun=begun: begun.append(item.subject) if what == "begun" else None,  # type: ignore[misc]
                ApplyOptions(),
            ).run(actions)
        assert len(begun) == tried
        assert {item.status for item in there(calls).values()} == {"running"} and len(there(calls)) == 3


def test_a_network_and_a_volume_are_made_once_and_known_again(calls: EngineCalls) -> None:
    container = {
        **WEB.container,
        "networking": {"networks": ["applied_front"]},
        "volumes": [{"volume": "applied_data", "container": "/data"}],
    }
    app = replace(
        APP,
        services=(replace(WEB, container=container),),
        networks=(
            AppNetwork("front", "applied_front", request={"internal": True, "labels": {"mine": "yes"}}),
        ),
        volumes=(AppVolume("data", "applied_data"),),
    )
    assert [verb for verb, _ in up(calls, app)] == ["create"] * 3
    assert up(calls, app) == []
    destroy(calls, app.name, lambda action, what: None, DestroyOptions(volumes=True, stop_timeout=0))
    state = existing.read(calls, app)
    assert not state.instances and not state.networks and not state.volumes


def test_down_ends_dependents_first(calls: EngineCalls) -> None:
    app = App(APP.name, (replace(WEB, depends_on=(Dependency("db"),)), replace(WEB, name="db")))
    up(calls, app)
    order: list[str] = []
    destroy(
        calls,
        app.name,
        lambda action, what: order.append(action.service) if what == "done" else None,
        DestroyOptions(stop_timeout=0),
    )
    assert order == ["web", "db"]
