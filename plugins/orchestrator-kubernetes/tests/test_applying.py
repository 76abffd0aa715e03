"""A plan is done on a server: real HTTP, with what real servers answer now and then."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubernetes_server import Request, Server, running
from multios.drivers.base import DriverContext
from multios.drivers.orchestrator import Action, ApplyOptions, DestroyOptions, PlanOptions
from multios.errors import Conflict, InvalidInput, Refused, StepFailed, Unavailable
from multios.model import app_document
from multios.model.app import App
from multios_orchestrator_kubernetes import KubernetesOrchestrator, apply
from multios_orchestrator_kubernetes.settings import KubernetesSettings
from registry_server import certificate

Driver = Callable[..., KubernetesOrchestrator]
SHOP: dict[str, Any] = {
    "name": "shop",
    "services": {
        "web": {
            "container": {"image": "web:1", "networking": {"ports": [{"container": 80, "host": 8080}]}},
            "replicas": 2,
            "depends_on": {"db": {"condition": "healthy"}, "prepare": {"condition": "completed"}},
            "files": [{"source": "site", "target": "/site"}],
        },
        "db": {"container": {"image": "db:1", "volumes": [{"volume": "data", "container": "/data"}]}},
        "prepare": {"container": {"image": "prepare:1"}},
    },
    "volumes": {"data": {}},
    "files": {"site": {"content": "eA=="}},
}


def parsed(change: Callable[[dict[str, Any]], None] = lambda document: None) -> App:
    document = copy.deepcopy(SHOP)
    change(document)
    return app_document.parse(document)


def up(
    driver: KubernetesOrchestrator, app: App, options: ApplyOptions | None = None, **planning: Any
) -> list[tuple[Action, str]]:
    """Plan and apply; what was told of changes."""
    told: list[tuple[Action, str]] = []
    plan = driver.plan(app, driver.existing(app), PlanOptions(**planning))
    driver.apply(app, plan, lambda action, what: told.append((action, what)), options or ApplyOptions())
    return [(action, what) for action, what in told if action.verb != "keep"]


def down(driver: KubernetesOrchestrator, volumes: bool = True) -> list[str]:
    told: list[str] = []
    driver.destroy(
        "shop", lambda action, what: told.append(f"{action.kind} {what}"), DestroyOptions(volumes=volumes)
    )
    return told


def new_web_image(document: dict[str, Any]) -> None:
    document["services"]["web"]["container"]["image"] = "web:2"


def test_an_app_is_there_after_an_apply_and_a_second_one_changes_nothing(
    driver: Driver, server: Server
) -> None:
    told = up(driver(), parsed())
    assert [what for _, what in told].count("done") == len(told) / 2
    assert set(server.store.named("Deployment")) == {"web", "db"}
    assert set(server.store.named("Job")) == {"prepare"}
    assert server.store.named("Deployment")["web"]["metadata"]["namespace"] == "shop"
    changes = len(server.changes())
    assert up(driver(), parsed()) == []
    assert len(server.changes()) == changes


def test_pods_are_shown_as_the_apps_instances(driver: Driver) -> None:
    up(driver(), parsed())
    instances = driver().existing(parsed()).instances
    assert sorted((item.service, item.status) for item in instances) == [
        ("db", "running"),
        ("prepare", "exited"),
        ("web", "running"),
        ("web", "running"),
    ]


def test_only_what_changed_is_sent(driver: Driver, server: Server) -> None:
    up(driver(), parsed())
    before = len(server.changes())
    up(driver(), parsed(new_web_image))
    assert [request.path.rsplit("/", 1)[1] for request in server.changes()[before:]] == ["web"]
    assert (
        server.store.named("Deployment")["web"]["spec"]["template"]["spec"]["containers"][0]["image"]
        == "web:2"
    )


def test_fields_that_are_not_asked_for_any_more_go(driver: Driver, server: Server) -> None:
    def user(document: dict[str, Any]) -> None:
        document["services"]["web"]["container"]["user"] = "5"

    up(driver(), parsed(user))
    up(driver(), parsed())
    container = server.store.named("Deployment")["web"]["spec"]["template"]["spec"]["containers"][0]
    assert "runAsUser" not in container["securityContext"]


def test_services_wait_for_what_they_depend_on(driver: Driver, server: Server) -> None:
    server.store.behaviour.start_seconds = 0.4
    up(driver(), parsed())
    made = {
        request.path.rsplit("/", 1)[1]: request.at
        for request in server.changes()
        if "/deployments/" in request.path or "/jobs/" in request.path
    }
    assert made["web"] > made["db"] + 0.4
    assert made["web"] > made["prepare"] + 0.4


def test_what_a_service_depends_on_and_fails_is_said_and_the_rest_is_done(
    driver: Driver, server: Server
) -> None:
    server.store.behaviour.failing_images.add("prepare")
    with pytest.raises(StepFailed, match=r"web: it depends on prepare: Job has reached"):
        up(driver(), parsed())
    assert set(server.store.named("Deployment")) == {"db"}
    server.store.behaviour.failing_images.clear()
    up(driver(), parsed(), force_recreate=True)
    assert set(server.store.named("Deployment")) == {"db", "web"}


def test_waiting_for_an_app_says_why_it_is_not_ready(driver: Driver, server: Server) -> None:
    server.store.behaviour.broken_images.add("web")
    with pytest.raises(StepFailed, match="web: not healthy after 1 s: ErrImagePull: cannot pull web:1"):
        up(driver(), parsed(), ApplyOptions(wait=1.0))


def test_a_failure_of_before_is_not_taken_for_one_of_now(driver: Driver, server: Server) -> None:
    server.store.behaviour.broken_images.add("web:1")
    with pytest.raises(StepFailed):
        up(driver(), parsed(), ApplyOptions(wait=0.5))
    stuck = {
        "conditions": [{"type": "Progressing", "status": "False", "message": "has timed out progressing"}]
    }
    server.store.edit("Deployment", "shop", "web", {"status": stuck}, "controller")
    server.store.behaviour.start_seconds = 0.5
    up(driver(), parsed(new_web_image), ApplyOptions(wait=10.0))


def test_what_a_service_depends_on_is_left_alone_if_asked_for(driver: Driver, server: Server) -> None:
    up(driver(), parsed(), services=("web",), no_dependencies=True)
    assert set(server.store.named("Deployment")) == {"web"}
    assert not server.store.named("Job")


def test_what_needs_a_part_that_failed_is_left_as_it_was(driver: Driver, server: Server) -> None:
    up(driver(), parsed())

    def change(document: dict[str, Any]) -> None:
        document["files"]["site"]["content"] = "eQ=="
        document["services"]["db"]["container"]["image"] = "db:2"
        document["services"]["web"]["depends_on"] = {}

    server.forbidden = {("PATCH", "configmaps")}
    with pytest.raises(Refused, match="ConfigMap shop-site"):
        up(driver(), parsed(change))
    generations = {
        name: item["metadata"]["generation"] for name, item in server.store.named("Deployment").items()
    }
    assert (generations["web"], generations["db"]) == (1, 2)
    server.forbidden = set()
    up(driver(), parsed(change))
    assert server.store.named("Deployment")["web"]["metadata"]["generation"] == 2


def test_a_namespace_that_may_not_be_made_ends_it_at_once(driver: Driver, server: Server) -> None:
    server.forbidden = {("PATCH", "namespaces")}
    with pytest.raises(Refused, match="Namespace shop"):
        up(driver(), parsed())
    assert len(server.changes()) == 1


def test_an_app_can_be_made_without_being_started(driver: Driver, server: Server) -> None:
    up(driver(), parsed(), ApplyOptions(start=False), start=False)
    assert server.store.named("Deployment")["web"]["spec"]["replicas"] == 0
    assert not server.store.named("Pod")
    up(driver(), parsed())
    assert len(server.store.named("Pod")) == 4


def test_pods_are_replaced_though_nothing_changed_if_asked_for(driver: Driver, server: Server) -> None:
    up(driver(), parsed())
    before = {pod["metadata"]["uid"] for pod in server.store.select("pods", "", "")}
    up(driver(), parsed(), force_recreate=True)
    after = {pod["metadata"]["uid"] for pod in server.store.select("pods", "", "")}
    assert len(after) == 4
    assert not before & after
    assert up(driver(), parsed()) == []


def test_a_long_chain_of_services_is_put_in_order() -> None:
    services = {
        f"s{number}": {"container": {"image": "a:1"}, "depends_on": {f"s{number - 1}": {}} if number else {}}
        for number in range(999, -1, -1)
    }
    app = app_document.parse({"name": "shop", "services": services})
    assert apply._depths(app)["s999"] == 1000


def test_an_apply_that_ended_in_the_middle_goes_on(driver: Driver, server: Server) -> None:
    def interrupt(action: Action, what: str) -> None:
        if action.kind == "Deployment":
            raise KeyboardInterrupt

    app = parsed()
    with pytest.raises(KeyboardInterrupt):
        driver().apply(
            app, driver().plan(app, driver().existing(app), PlanOptions()), interrupt, ApplyOptions()
        )
    assert not server.store.named("Deployment")
    told = up(driver(), app)
    assert {(action.kind, action.subject) for action, _ in told} >= {
        ("Deployment", "web"),
        ("Deployment", "db"),
    }
    assert ("Namespace", "shop") not in {(action.kind, action.subject) for action, _ in told}


def test_a_job_that_changed_is_removed_and_made_anew(driver: Driver, server: Server) -> None:
    up(driver(), parsed())
    first = server.store.named("Job")["prepare"]["metadata"]["uid"]
    server.store.behaviour.removal_seconds = 0.3

    def change(document: dict[str, Any]) -> None:
        document["services"]["prepare"]["container"]["image"] = "prepare:2"

    up(driver(), parsed(change))
    assert server.store.named("Job")["prepare"]["metadata"]["uid"] != first


# --- others ---------------------------------------------------------------------------------------


def test_fields_that_others_manage_are_not_taken_over_unless_asked_for(
    driver: Driver, server: Server
) -> None:
    up(driver(), parsed())
    server.store.edit("Deployment", "shop", "web", {"spec": {"replicas": 9}})

    def change(document: dict[str, Any]) -> None:
        document["services"]["web"]["replicas"] = 3

    with pytest.raises(Conflict) as refused:
        up(driver(), parsed(change))
    assert refused.value.cause == "Deployment web: others manage these fields: .spec.replicas (kubectl-edit)"
    assert "force_conflicts" in refused.value.remedy
    assert server.store.named("Deployment")["web"]["spec"]["replicas"] == 9
    up(driver(force_conflicts=True), parsed(change))
    assert server.store.named("Deployment")["web"]["spec"]["replicas"] == 3


def test_what_is_not_the_apps_is_not_touched(driver: Driver, server: Server) -> None:
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}}
    server.store.add(foreign)
    app = parsed()
    with pytest.raises(Conflict, match="not the app's"):
        driver("default").plan(app, driver("default").existing(app), PlanOptions())


def test_the_contexts_namespace_is_used_and_stays(driver: Driver, server: Server) -> None:
    up(driver("default"), parsed())
    assert server.store.named("Deployment")["web"]["metadata"]["namespace"] == "default"
    driver("default").destroy("shop", lambda *_: None, DestroyOptions(volumes=True))
    assert set(server.store.named("Namespace")) == {"default"}
    assert not server.store.named("Pod")


def test_who_may_see_one_namespace_only_can_use_it(driver: Driver, server: Server) -> None:
    server.forbidden = {("GET", "namespaces"), ("PATCH", "namespaces")}
    up(driver("default"), parsed())
    assert set(server.store.named("Deployment")) == {"web", "db"}


# --- servers that are busy, strict or gone --------------------------------------------------------


def failing(server: Server, times: int, *fault: Any) -> list[Request]:
    """The first ``times`` changes fail so."""
    met: list[Request] = []

    def answer(request: Request) -> Any:
        if request.method == "GET" or len(met) >= times:
            return None
        met.append(request)
        return fault

    server.fault = answer
    return met


@pytest.mark.parametrize(
    ("code", "reason"), [(409, "Conflict"), (500, "InternalError"), (503, "ServiceUnavailable")]
)
def test_passing_faults_are_tried_again(driver: Driver, server: Server, code: int, reason: str) -> None:
    met = failing(server, 3, code, reason, "not now", "")
    up(driver(), parsed())
    assert len(met) == 3
    assert set(server.store.named("Deployment")) == {"web", "db"}


def test_a_server_that_is_overloaded_says_when_to_come_back(driver: Driver, server: Server) -> None:
    met = failing(server, 1, 429, "TooManyRequests", "slow down", "1")
    up(driver(), parsed())
    again = [request for request in server.changes() if request.path == met[0].path]
    assert again[1].at - again[0].at >= 1.0


def test_a_fault_that_stays_ends_with_its_reason(driver: Driver, server: Server) -> None:
    failing(server, 10_000, 500, "InternalError", "etcdserver: no leader", "")
    with pytest.raises(Unavailable, match="the cluster answers 500: etcdserver: no leader"):
        up(driver(), parsed())


def test_a_token_that_ended_is_read_anew(driver: Driver, server: Server, tmp_path: Path) -> None:
    app, ours = parsed(), driver()
    plan = ours.plan(app, ours.existing(app), PlanOptions())

    def renew(action: Action, what: str) -> None:
        if action.kind == "ConfigMap":
            server.tokens = {"second"}
            server.kubeconfig(tmp_path / "kubeconfig", token="second")

    ours.apply(app, plan, renew, ApplyOptions())
    assert set(server.store.named("Deployment")) == {"web", "db"}


def test_a_plugin_that_gets_tokens_is_run_again(driver: Driver, server: Server, tmp_path: Path) -> None:
    app, ours = parsed(), driver()
    kubeconfig, counter = tmp_path / "kubeconfig", tmp_path / "runs"
    program = tmp_path / "login"
    program.write_text(
        "#!/bin/sh\n"
        f'echo run >> {counter}\nname=$([ "$(wc -l < {counter})" -le 1 ] && echo first || echo second)\n'
        'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}\' $name\n'
    )
    program.chmod(0o755)
    document = json.loads(kubeconfig.read_text())
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(program),
        "interactiveMode": "Never",
    }
    document["users"] = [{"name": "u", "user": {"exec": plugin}}]
    kubeconfig.write_text(json.dumps(document))
    server.tokens = {"second"}
    ours.existing(app)
    assert counter.read_text() == "run\nrun\n"


def test_a_token_that_stays_refused_is_said_once_and_clearly(driver: Driver, server: Server) -> None:
    server.tokens = {"another"}
    with pytest.raises(Refused) as refused:
        driver().existing(parsed())
    assert "does not accept your credentials (context 'school')" in refused.value.cause
    assert "kubectl --context school" in refused.value.remedy
    assert len(server.requests) == 2


def test_a_quota_that_is_used_up_is_named(driver: Driver, server: Server) -> None:
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "of-the-class", "namespace": "default"},
        "spec": {"hard": {"persistentvolumeclaims": "0"}},
    }  # fmt: skip
    server.store.add(quota)
    with pytest.raises(Refused) as refused:
        up(driver("default"), parsed())
    assert refused.value.cause == (
        "PersistentVolumeClaim shop-data: the quota 'of-the-class' is used up: "
        "persistentvolumeclaims=1 asked for, persistentvolumeclaims=0 used, of persistentvolumeclaims=0"
    )


def test_a_quota_that_keeps_pods_away_is_said_by_who_waits_for_them(driver: Driver, server: Server) -> None:
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "of-the-class", "namespace": "default"},
        "spec": {"hard": {"pods": "1"}},
    }  # fmt: skip
    server.store.add(quota)
    with pytest.raises(StepFailed, match="exceeded quota: of-the-class"):
        up(driver("default"), parsed(), ApplyOptions(wait=1.0))


def test_requests_keep_to_the_rate(driver: Driver, server: Server) -> None:
    app, ours = parsed(), driver()
    plan = ours.plan(app, ours.existing(app), PlanOptions())
    before = len(server.requests)
    ours.apply(app, plan, lambda *_: None, ApplyOptions(rate=20.0, burst=2))
    sent = [request.at for request in server.requests[before:]]
    assert sent[-1] - sent[0] >= (len(sent) - 2) / 20.0 - 0.05


def test_a_cluster_that_is_not_there_is_said_with_its_context(
    driver: Driver, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = driver()
    kubeconfig = Path(ours.settings.kubeconfig)
    kubeconfig.write_text(kubeconfig.read_text().replace(server.url, "http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="the cluster of context 'school' cannot be reached"):
        ours.existing(parsed())


@pytest.mark.parametrize(
    ("text", "settings", "cause"),
    [
        ("{", {}, "the kubeconfig cannot be used"),
        ("", {}, "the kubeconfig cannot be used"),
        ("[1]", {}, "the kubeconfig cannot be used"),
        (None, {"context": "scool"}, "context: the kubeconfig has none called 'scool'"),
        (None, {"kubeconfig": "/no/such/file"}, "the kubeconfig cannot be used"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_said(
    driver: Driver, text: str | None, settings: dict[str, Any], cause: str
) -> None:
    ours = driver(**settings)
    if text is not None:
        Path(ours.settings.kubeconfig).write_text(text)
    with pytest.raises(InvalidInput) as refused:
        ours.existing(parsed())
    assert refused.value.cause.startswith(cause)
    assert "\n" not in refused.value.cause


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"items": 1}', b'{"items": [1]}', b'{"items": [{"metadata": {"name": "a", "labels": 1}}]}', b'{"metadata": 1, "items": []}', b""],
)  # fmt: skip
def test_what_is_no_api_server_is_said(driver: Driver, server: Server, body: bytes) -> None:
    server.nonsense = body
    with pytest.raises(Unavailable, match="no JSON|no object|no list|are none"):
        driver("default").existing(parsed())


def test_a_cluster_is_reached_by_tls_and_only_as_the_kubeconfig_trusts_it(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    ours_certificate, key = certificate(tmp_path)
    other, _ = certificate(tmp_path / "other")
    with running(ours_certificate, key) as server:
        path = server.kubeconfig(tmp_path / "kubeconfig")
        ours = KubernetesOrchestrator(
            KubernetesSettings(kubeconfig=str(path), rate=0.0), DriverContext(tmp_path, tmp_path)
        )
        up(ours, parsed())
        assert set(server.store.named("Deployment")) == {"web", "db"}
        requests = len(server.requests)
        path.write_text(path.read_text().replace(str(ours_certificate), str(other)))
        with pytest.raises(Unavailable, match=r"cannot be reached: .*certificate verify failed"):
            ours.existing(parsed())
        assert len(server.requests) == requests


# --- removal --------------------------------------------------------------------------------------


def test_nothing_is_left_of_an_app_that_is_destroyed(driver: Driver, server: Server) -> None:
    empty = set(server.store.objects)
    up(driver(), parsed())
    server.store.behaviour.removal_seconds = 0.3
    told = down(driver())
    assert set(server.store.objects) == empty
    assert told[-2:] == ["Namespace begun", "Namespace done"]
    assert down(driver()) == []


def test_volumes_are_kept_unless_asked_for(driver: Driver, server: Server) -> None:
    up(driver(), parsed())
    down(driver(), volumes=False)
    assert set(server.store.named("PersistentVolumeClaim")) == {"shop-data"}
    assert not server.store.named("Deployment")
    up(driver(), parsed())
    down(driver())
    assert set(server.store.named("Namespace")) == {"default"}


def test_what_cannot_be_removed_is_named_with_what_holds_it(driver: Driver, server: Server) -> None:
    up(driver(), parsed())
    held = {"metadata": {"finalizers": ["example.org/hold"]}}
    server.store.edit("ConfigMap", "shop", "shop-site", held)
    with pytest.raises(Unavailable) as failed:
        down(driver(timeout=4.0))  # time for all but what is held
    assert failed.value.cause == (
        "after 4 s there are left: ConfigMap shop/shop-site (held by example.org/hold)"
    )
    threading.Timer(0.5, server.store.release, [("configmaps", "shop", "shop-site")]).start()
    down(driver())
    assert set(server.store.named("Namespace")) == {"default"}


def test_the_default_accounts_token_is_nobodys(driver: Driver, server: Server) -> None:
    """Kubernetes before 1.24 puts one into every namespace."""
    up(driver(), parsed())
    metadata = {"name": "default-token-x", "namespace": "shop"}
    annotations = {"kubernetes.io/service-account.name": "default"}
    server.store.add(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata | {"annotations": annotations}}
    )
    down(driver())
    assert set(server.store.named("Namespace")) == {"default"}


def test_a_namespace_that_others_use_too_is_not_removed(driver: Driver, server: Server) -> None:
    up(driver(), parsed())
    guest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "guest", "namespace": "shop"}}
    server.store.add(guest)
    with pytest.raises(Conflict, match="ConfigMap shop/guest"):
        down(driver())
    assert "guest" in server.store.named("ConfigMap")


def test_an_app_goes_up_while_its_old_namespace_is_still_going(driver: Driver, server: Server) -> None:
    up(driver(), parsed())
    server.store.behaviour.removal_seconds = 0.5
    begun = time.monotonic()
    server.store.delete(("namespaces", "", "shop"))
    up(driver(), parsed())
    assert time.monotonic() - begun >= 0.4
    assert set(server.store.named("Deployment")) == {"web", "db"}
