"""A plan is pure: what is wanted against what the objects' fingerprints say there is."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from multios.app_labels import SERVICE_LABEL
from multios.drivers.orchestrator import Action, PlanOptions
from multios.errors import Conflict, NotFound
from multios.model import app_document
from multios.model.app import App
from multios.model.json import to_json
from multios_orchestrator_kubernetes import names, plan
from multios_orchestrator_kubernetes.settings import KubernetesSettings
from multios_orchestrator_kubernetes.state import ClusterState, Found

SETTINGS = KubernetesSettings()
DOCUMENT: dict[str, Any] = {
    "name": "shop",
    "services": {
        "web": {"container": {"image": "web:1"}, "depends_on": {"db": {}}},
        "db": {"container": {"image": "db:1", "volumes": [{"volume": "shop_data", "container": "/data"}]}},
        "prepare": {"container": {"image": "prepare:1", "restart_policy": "on-failure"}},
    },
    "volumes": {"data": {"name": "shop_data"}},
}


def parsed(change: Any = None) -> App:
    document = copy.deepcopy(DOCUMENT)
    if change is not None:
        change(document)
    return app_document.parse(document)


def made(app: App, state: ClusterState | None = None, **options: Any) -> tuple[Action, ...]:
    return plan.make(app, state or ClusterState(namespace="shop"), PlanOptions(**options), SETTINGS)


def state_after(app: App) -> ClusterState:
    """What there is when ``app`` was applied."""
    objects = {}
    for action in made(app):
        assert isinstance(action, plan.ClusterAction)
        metadata = action.manifest["metadata"]
        fingerprint = json.loads(metadata["annotations"][names.FINGERPRINT_ANNOTATION])
        objects[(action.kind, action.subject)] = Found(metadata["labels"].get(SERVICE_LABEL, ""), fingerprint)
    return ClusterState(objects=objects, namespace="shop", namespace_is="ours")


def verbs(actions: tuple[Action, ...]) -> dict[tuple[str, str], str]:
    return {(action.kind, action.subject): action.verb for action in actions if action.verb != "keep"}


def test_a_new_app_is_created_and_the_same_app_is_kept() -> None:
    app = parsed()
    assert set(verbs(made(app)).values()) == {"create"}
    assert verbs(made(app, state_after(app))) == {}


def test_a_plan_says_which_fields_changed() -> None:
    def change(document: dict[str, Any]) -> None:
        document["services"]["web"]["container"]["image"] = "web:2"
        document["services"]["web"]["replicas"] = 3

    actions = made(parsed(change), state_after(parsed()))
    (action,) = [action for action in actions if action.verb != "keep"]
    assert (action.verb, action.kind, action.service) == ("recreate", "Deployment", "web")
    assert action.changed == ("container.image", "spec.replicas")
    assert "container.image" in action.reason


def test_a_job_that_changed_is_replaced_as_a_whole() -> None:
    def change(document: dict[str, Any]) -> None:
        document["services"]["prepare"]["container"]["image"] = "prepare:2"

    actions = made(parsed(change), state_after(parsed()))
    (action,) = [action for action in actions if action.verb != "keep"]
    assert isinstance(action, plan.ClusterAction)
    assert action.replaces


def test_a_deployment_that_shall_not_roll_any_more_is_replaced_as_a_whole() -> None:
    def change(document: dict[str, Any]) -> None:
        document["services"]["web"]["update"] = {"order": "start-first"}

    for before, after, replaces in ((change, None, True), (None, change, False)):
        actions = made(parsed(after), state_after(parsed(before)))
        (action,) = [action for action in actions if action.verb != "keep"]
        assert isinstance(action, plan.ClusterAction)
        assert action.replaces is replaces


def test_a_service_that_left_the_file_is_an_orphan_and_its_data_is_kept() -> None:
    def change(document: dict[str, Any]) -> None:
        del document["services"]["db"], document["services"]["web"]["depends_on"]

    state = state_after(parsed())
    assert verbs(made(parsed(change), state)) == {}
    gone = verbs(made(parsed(change), state, remove_orphans=True))
    assert gone == {("Deployment", "db"): "remove", ("Service", "db"): "remove"}


def test_what_an_orphan_may_use_stays_with_it() -> None:
    def with_file(document: dict[str, Any]) -> None:
        document["services"]["web"]["files"] = [{"source": "site", "target": "/site"}]
        document["files"] = {"site": {"content": "eA=="}}

    def without_web(document: dict[str, Any]) -> None:
        del document["services"]["web"]

    state = state_after(parsed(with_file))
    assert verbs(made(parsed(without_web), state)) == {}
    assert ("ConfigMap", "shop-site") in verbs(made(parsed(without_web), state, remove_orphans=True))


def test_what_a_service_does_not_need_any_more_is_removed() -> None:
    def publish(document: dict[str, Any]) -> None:
        document["services"]["web"]["container"]["networking"] = {"ports": [80]}

    assert verbs(made(parsed(), state_after(parsed(publish)))) == {
        ("Service", "web-published"): "remove",
        ("NetworkPolicy", "shop-published-web"): "remove",
    }


def test_only_what_was_chosen_and_what_it_depends_on_is_touched() -> None:
    workloads = {
        subject for kind, subject in verbs(made(parsed(), services=("web",))) if kind == "Deployment"
    }
    assert workloads == {"web", "db"}
    alone = verbs(made(parsed(), services=("web",), no_dependencies=True))
    assert ("Deployment", "db") not in alone
    assert ("PersistentVolumeClaim", "shop-data") not in alone
    with pytest.raises(NotFound, match="wbe"):
        made(parsed(), services=("wbe",))


def test_options_of_replacing() -> None:
    def change(document: dict[str, Any]) -> None:
        document["services"]["web"]["container"]["image"] = "web:2"

    assert verbs(made(parsed(change), state_after(parsed()), no_recreate=True)) == {}
    forced = verbs(made(parsed(), state_after(parsed()), force_recreate=True))
    assert set(forced) == {("Deployment", "web"), ("Deployment", "db"), ("Job", "prepare")}


def test_scale_and_start_change_the_replicas() -> None:
    def replicas(**options: Any) -> int:
        (action,) = [
            item for item in made(parsed(), **options) if (item.kind, item.subject) == ("Deployment", "web")
        ]
        assert isinstance(action, plan.ClusterAction)
        return int(action.manifest["spec"]["replicas"])

    assert replicas(scale={"web": 4}) == 4
    assert replicas(start=False) == 0


def test_scaling_is_done_where_nothing_is_to_be_replaced() -> None:
    scaled = verbs(made(parsed(), state_after(parsed()), no_recreate=True, scale={"web": 4}))
    assert scaled == {("Deployment", "web"): "recreate"}


def test_a_plan_can_be_shown_without_what_is_secret() -> None:
    def change(document: dict[str, Any]) -> None:
        document["services"]["web"]["files"] = [{"source": "key", "target": "/key"}]
        document["files"] = {"key": {"content": "aHVudGVyMg==", "secret": True}}

    actions = made(parsed(change))
    shown = json.dumps(to_json(actions)) + repr(actions)
    assert "Secret" in shown
    assert "aHVudGVyMg" not in shown
    assert "hunter2" not in shown


def test_what_is_not_the_apps_stands_in_the_way() -> None:
    state = ClusterState(namespace="shop", namespace_is="given", elsewhere=frozenset({("Service", "web")}))
    with pytest.raises(Conflict, match="'web' in namespace 'shop' is not the app's"):
        made(parsed(), state)


def test_an_external_volume_has_to_be_there() -> None:
    def change(document: dict[str, Any]) -> None:
        document["volumes"]["data"] = {"name": "shop_data", "external": True}

    with pytest.raises(Conflict, match="shop_data"):
        made(parsed(change))


def test_what_is_being_removed_is_made_anew() -> None:
    state = state_after(parsed())
    objects = {**state.objects, ("Deployment", "web"): Found("web", {}, is_being_removed=True)}
    (action,) = [
        action
        for action in made(parsed(), ClusterState(objects=objects, namespace="shop", namespace_is="ours"))
        if action.verb != "keep"
    ]
    assert isinstance(action, plan.ClusterAction)
    assert (action.verb, action.replaces) == ("create", True)
