"""What is planned: only what differs, in an order in which it can be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from multios.drivers.orchestrator import Action, PlanOptions
from multios.errors import Conflict, InvalidInput, NotFound
from multios.model.app import (
    App,
    AppFile,
    AppNetwork,
    AppState,
    AppVolume,
    Dependency,
    FileUse,
    Instance,
    Service,
    fingerprint,
)
from multios_orchestrator_local.planning import of_service, plan

WEB = Service("web", {"image": "small:1", "environment": {"A": "1", "B": "2"}})
APP = App("shop", (WEB,))


def there(service: Service, number: int = 1, app: App = APP, **changes: Any) -> Instance:
    """A container as this service makes it."""
    name = f"{app.name}-{service.name}-{number}"
    made = Instance(f"id-{name}", name, service.name, number, "running", "image-1", of_service(app, service))
    return replace(made, **changes)


def containers(actions: Sequence[Action]) -> list[tuple[str, str]]:
    return [(action.verb, action.subject) for action in actions if action.kind == "container"]


def only(actions: Sequence[Action]) -> Action:
    (action,) = actions
    return action


def with_replicas(count: int) -> App:
    return App("shop", (replace(WEB, replicas=count),))


# --- what differs ---------------------------------------------------------------------------------------


def test_a_changed_field_is_named_by_its_path() -> None:
    changed = replace(WEB, container={"image": "small:1", "environment": {"A": "1", "B": "3"}})
    action = only(plan(App("shop", (changed,)), AppState((there(WEB),)), PlanOptions()))
    assert (action.verb, action.changed) == ("recreate", ("environment.B",))
    assert "environment.B" in action.reason


def test_of_many_changed_fields_a_reason_names_three() -> None:
    changed = replace(
        WEB, container={"image": "x", "command": ["a"], "hostname": "h", "user": "u", "init": True}
    )
    action = only(plan(App("shop", (changed,)), AppState((there(WEB),)), PlanOptions()))
    assert action.reason.endswith("and 4 more changed") and len(action.changed) == 7


def test_an_image_of_the_same_name_and_another_id_is_a_change() -> None:
    action = only(plan(APP, AppState((there(WEB),), images={"small:1": "image-2"}), PlanOptions()))
    assert (action.verb, action.reason) == ("recreate", "its image is another one now")


def test_an_image_that_is_gone_is_none() -> None:
    assert only(plan(APP, AppState((there(WEB),)), PlanOptions())).verb == "keep"


@pytest.mark.parametrize("status", ["created", "exited"])
def test_what_does_not_run_is_started(status: str) -> None:
    state = AppState((there(WEB, status=status),))
    action = only(plan(APP, state, PlanOptions()))
    assert (action.verb, action.reason) == ("start", f"it is {status}")
    assert only(plan(APP, state, PlanOptions(start=False))).verb == "keep"


def test_a_paused_container_is_left_as_it_is() -> None:
    assert only(plan(APP, AppState((there(WEB, status="paused"),)), PlanOptions())).verb == "keep"


def test_asked_for_all_are_replaced_or_none_is() -> None:
    changed = App("shop", (replace(WEB, container={"image": "x"}),))
    state = AppState((there(WEB),))
    assert only(plan(APP, state, PlanOptions(force_recreate=True))).verb == "recreate"
    kept = only(plan(changed, state, PlanOptions(no_recreate=True)))
    assert kept.verb == "keep" and "not to be recreated" in kept.reason


def test_a_file_with_another_content_or_place_is_a_change() -> None:
    service = replace(WEB, files=(FileUse("motd", "/etc/motd"),))
    app = App("shop", (service,), files=(AppFile("motd", b"hello"),))
    state = AppState((there(service, app=app),))
    assert only(plan(app, state, PlanOptions())).verb == "keep"
    other = replace(app, files=(AppFile("motd", b"bye"),))
    assert only(plan(other, state, PlanOptions())).changed == ("files./etc/motd",)
    moved = replace(app, services=(replace(service, files=(FileUse("motd", "/etc/issue"),)),))
    assert only(plan(moved, state, PlanOptions())).changed == ("files./etc/issue", "files./etc/motd")


def test_a_fingerprint_shows_no_content() -> None:
    service = replace(WEB, files=(FileUse("key", "/run/secrets/key"),))
    app = App("shop", (service,), files=(AppFile("key", b"hunter2", True),))
    assert "hunter2" not in str(of_service(app, service))


# --- numbers of replicas --------------------------------------------------------------------------------


def test_more_replicas_get_the_free_numbers() -> None:
    state = AppState((there(WEB, 2), there(WEB, 4)))
    assert containers(plan(with_replicas(4), state, PlanOptions())) == [
        ("create", "shop-web-1"),
        ("keep", "shop-web-2"),
        ("create", "shop-web-3"),
        ("keep", "shop-web-4"),
    ]


def test_fewer_replicas_lose_the_highest_numbers() -> None:
    state = AppState(tuple(there(WEB, number) for number in (1, 2, 10)))
    assert containers(plan(with_replicas(1), state, PlanOptions())) == [
        ("remove", "shop-web-2"),
        ("remove", "shop-web-10"),
        ("keep", "shop-web-1"),
    ]


def test_scaling_goes_before_the_file() -> None:
    state = AppState((there(WEB),))
    assert containers(plan(APP, state, PlanOptions(scale={"web": 0}))) == [("remove", "shop-web-1")]
    assert len(plan(with_replicas(3), AppState(), PlanOptions(scale={"web": 5}))) == 5


def test_of_two_with_one_number_the_one_with_the_right_name_stays() -> None:
    aside = there(WEB, name="shop-web-1-old-abc", id="old", status="exited")
    for pair in ((there(WEB), aside), (aside, there(WEB))):
        assert containers(plan(APP, AppState(pair), PlanOptions())) == [
            ("remove", "shop-web-1-old-abc"),
            ("keep", "shop-web-1"),
        ]


def test_one_that_an_ended_replacement_left_aside_is_replaced() -> None:
    action = only(plan(APP, AppState((there(WEB, name="shop-web-1-old-abc"),)), PlanOptions()))
    assert (action.verb, action.subject) == ("recreate", "shop-web-1")


def test_one_name_is_not_for_two_containers() -> None:
    app = App("shop", (replace(WEB, container_name="the-web"),))
    assert containers(plan(app, AppState(), PlanOptions())) == [("create", "the-web")]
    with pytest.raises(Conflict, match="the-web"):
        plan(app, AppState(), PlanOptions(scale={"web": 2}))


# --- which services -------------------------------------------------------------------------------------

CHAIN = App(
    "shop",
    (
        Service("web", {"image": "small:1"}, depends_on=(Dependency("api"),)),
        Service("api", {"image": "small:1"}, depends_on=(Dependency("db", restart=True),)),
        Service("db", {"image": "small:1"}),
        Service("other", {"image": "small:1"}),
    ),
)


def test_a_service_brings_what_it_depends_on() -> None:
    chosen = plan(CHAIN, AppState(), PlanOptions(services=("web",)))
    assert [action.service for action in chosen] == ["db", "api", "web"]
    alone = plan(CHAIN, AppState(), PlanOptions(services=("web",), no_dependencies=True))
    assert [action.service for action in alone] == ["web"]


@pytest.mark.parametrize("options", [PlanOptions(services=("wbe",)), PlanOptions(scale={"wbe": 1})])
def test_an_unknown_service_is_refused_with_the_nearest(options: PlanOptions) -> None:
    with pytest.raises((InvalidInput, NotFound)) as refused:
        plan(CHAIN, AppState(), options)
    assert "wbe" in refused.value.cause and "web" in refused.value.remedy


def test_a_dependent_that_asked_for_it_restarts_with_what_it_depends_on() -> None:
    state = AppState(tuple(there(service, app=CHAIN) for service in CHAIN.services))
    db = replace(CHAIN.services[2], container={"image": "small:1", "command": ["new"]})
    changed = replace(CHAIN, services=(*CHAIN.services[:2], db, CHAIN.services[3]))
    assert containers(plan(changed, state, PlanOptions())) == [
        ("recreate", "shop-db-1"),
        ("restart", "shop-api-1"),
        ("keep", "shop-web-1"),
        ("keep", "shop-other-1"),
    ]


def test_orphans_are_removed_only_when_that_is_asked_for() -> None:
    state = AppState((there(WEB), there(Service("gone", {"image": "small:1"}))))
    kept, removed = (plan(APP, state, PlanOptions(remove_orphans=asked))[-1] for asked in (False, True))
    assert (kept.verb, removed.verb, removed.subject) == ("keep", "remove", "shop-gone-1")
    assert "'gone'" in removed.reason


# --- networks and volumes -------------------------------------------------------------------------------

NETWORKED = App(
    "shop",
    (
        Service(
            "web",
            {
                "image": "small:1",
                "networking": {"networks": ["shop_front"]},
                "volumes": [
                    {"volume": "shop_data", "container": "/data"},
                    {"host": "/srv", "container": "/srv"},
                ],
            },
        ),
    ),
    networks=(
        AppNetwork("front", "shop_front", request={"internal": True}),
        AppNetwork("unused", "shop_unused"),
    ),
    volumes=(AppVolume("data", "shop_data"), AppVolume("unused", "shop_unused")),
)
FRONT = {"shop_front": fingerprint({"internal": True})}


def test_networks_and_volumes_that_are_used_come_first() -> None:
    made = [
        (action.verb, action.kind, action.subject) for action in plan(NETWORKED, AppState(), PlanOptions())
    ]
    assert made == [
        ("create", "network", "shop_front"),
        ("create", "volume", "shop_data"),
        ("create", "container", "shop-web-1"),
    ]


def test_networks_and_volumes_that_are_there_are_kept() -> None:
    state = AppState(networks=FRONT, volumes={"shop_data": {}})
    assert [action.verb for action in plan(NETWORKED, state, PlanOptions())] == ["keep", "keep", "create"]


def test_a_network_of_which_nothing_was_asked_has_no_changed_field() -> None:
    app = replace(NETWORKED, networks=(AppNetwork("front", "shop_front"),))
    with pytest.raises(Conflict, match=r"'front': internal changed"):
        plan(app, AppState(networks=FRONT), PlanOptions())


def test_a_changed_network_is_refused_with_what_changed_and_what_to_do() -> None:
    other = replace(
        NETWORKED, networks=(AppNetwork("front", "shop_front", request={"subnet": "10.0.0.0/24"}),)
    )
    with pytest.raises(Conflict) as refused:
        plan(other, AppState(networks=FRONT), PlanOptions())
    assert "internal, subnet changed" in refused.value.cause
    assert "app --project-name shop down" in refused.value.remedy


@pytest.mark.parametrize(("kind", "name"), [("network", "shop_front"), ("volume", "shop_data")])
def test_a_name_that_something_else_has_is_refused(kind: str, name: str) -> None:
    with pytest.raises(Conflict, match="not this app's") as refused:
        plan(NETWORKED, AppState(elsewhere=frozenset({(kind, name)})), PlanOptions())
    assert name in refused.value.cause and "external" in refused.value.remedy


@pytest.mark.parametrize(("kind", "name"), [("network", "shop_front"), ("volume", "shop_data")])
def test_what_is_external_must_be_there_and_is_nobodys_action(kind: str, name: str) -> None:
    app = replace(
        NETWORKED,
        networks=(AppNetwork("front", "shop_front", external=True),),
        volumes=(AppVolume("data", "shop_data", external=True),),
    )
    both = frozenset({("network", "shop_front"), ("volume", "shop_data")})
    assert [action.kind for action in plan(app, AppState(elsewhere=both), PlanOptions())] == ["container"]
    with pytest.raises(NotFound) as refused:
        plan(app, AppState(elsewhere=both - {(kind, name)}), PlanOptions())
    assert name in refused.value.cause and f"{kind} create {name}" in refused.value.remedy


# --- shared networks ------------------------------------------------------------------------------------

BESIDE = Service(
    "beside",
    {"image": "small:1", "networking": {"networks": ["container:shop-web-1"]}},
    depends_on=(Dependency("web"),),
)


def test_who_uses_a_network_is_made_anew_with_the_container_whose_it_is() -> None:
    app = App("shop", (BESIDE, WEB))
    beside = there(BESIDE, app=app)
    assert containers(plan(app, AppState((there(WEB), beside)), PlanOptions())) == [
        ("keep", "shop-web-1"),
        ("keep", "shop-beside-1"),
    ]
    changed = replace(WEB, container={"image": "small:1"})
    actions = plan(App("shop", (BESIDE, changed)), AppState((there(WEB), beside)), PlanOptions())
    assert containers(actions) == [("recreate", "shop-web-1"), ("recreate", "shop-beside-1")]
    assert actions[1].reason == "the container whose network it uses is made anew"
    gone = plan(app, AppState((replace(beside, status="exited"),)), PlanOptions())
    assert containers(gone) == [("create", "shop-web-1"), ("recreate", "shop-beside-1")]


def test_another_container_of_that_service_is_no_reason() -> None:
    app = App("shop", (BESIDE, replace(WEB, replicas=2)))
    actions = plan(app, AppState((there(WEB), there(BESIDE, app=app))), PlanOptions())
    assert containers(actions) == [
        ("keep", "shop-web-1"),
        ("create", "shop-web-2"),
        ("keep", "shop-beside-1"),
    ]
