"""The same on a real cluster, where there is one: what KUBECONFIG names."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml

from multios.drivers.base import DriverContext
from multios.drivers.orchestrator import ApplyOptions, DestroyOptions, PlanOptions
from multios.errors import Conflict, Refused
from multios.model import app_document
from multios.model.course import RUNNING, STOPPED, Course, CourseQuota
from multios_orchestrator_kubernetes import KubernetesOrchestrator
from multios_orchestrator_kubernetes.settings import KubernetesSettings

pytestmark = pytest.mark.skipif(
    not os.environ.get("KUBECONFIG"), reason="this host has no cluster: KUBECONFIG is not set"
)
IMAGE = os.environ.get("MULTIOS_TEST_CLUSTER_IMAGE", "busybox:1.36")
"""One with ``sleep`` and ``true``, that the cluster's nodes can pull."""
IMAGE_BY_DIGEST = os.environ.get("MULTIOS_TEST_CLUSTER_IMAGE_BY_DIGEST", "")
"""The same as ``NAME@sha256:…``."""


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[str]:
    """The name of an app and of its namespace, which is gone at the end."""
    name = f"multios-test-{uuid.uuid4().hex[:8]}"
    yield name
    driver_of(name, tmp_path).destroy(name, lambda *_: None, DestroyOptions(volumes=True, stop_timeout=0))


def driver_of(namespace: str, directory: Path, **settings: Any) -> KubernetesOrchestrator:
    settings = {"namespace": namespace, **settings}
    return KubernetesOrchestrator(KubernetesSettings(**settings), DriverContext(directory, directory))


def up(driver: KubernetesOrchestrator, name: str, replicas: int, **more: Any) -> None:
    container: dict[str, Any] = {"image": IMAGE, "command": ["sleep", "1000"], "user": "1000"}
    if "volumes" in more:
        container["volumes"] = [{"volume": volume, "container": f"/{volume}"} for volume in more["volumes"]]
    services = {"web": {"container": container, "replicas": replicas}}
    app = app_document.parse({"name": name, "services": services, **more})
    plan = driver.plan(app, driver.existing(app), PlanOptions())
    driver.apply(app, plan, lambda *_: None, ApplyOptions(wait=180.0))


def wait_until(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_fields_that_others_manage_are_not_taken_over_unless_asked_for(
    namespace: str, tmp_path: Path
) -> None:
    driver = driver_of(namespace, tmp_path)
    up(driver, namespace, 1)
    apps: Any = kubernetes.client.AppsV1Api(kubernetes.config.new_client_from_config())
    change = {"spec": {"replicas": 2}}
    apps.patch_namespaced_deployment("web", namespace, change, field_manager="somebody")
    with pytest.raises(Conflict) as refused:
        up(driver, namespace, 3)
    assert refused.value.cause == "Deployment web: others manage these fields: .spec.replicas (somebody)"
    up(driver_of(namespace, tmp_path, force_conflicts=True), namespace, 3)
    assert apps.read_namespaced_deployment("web", namespace).spec.replicas == 3


def test_a_quota_that_is_used_up_is_named(namespace: str, tmp_path: Path) -> None:
    driver = driver_of(namespace, tmp_path)
    up(driver, namespace, 1)
    core: Any = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config())
    quota = {"metadata": {"name": "of-the-class"}, "spec": {"hard": {"persistentvolumeclaims": "0"}}}
    core.create_namespaced_resource_quota(namespace, quota)
    wait_until(lambda: core.read_namespaced_resource_quota("of-the-class", namespace).status.hard)
    with pytest.raises(Refused) as refused:
        up(driver, namespace, 1, volumes={"data": {}})
    assert "the quota 'of-the-class' is used up: persistentvolumeclaims=1 asked for" in refused.value.cause


def test_a_token_that_is_not_accepted_is_said(tmp_path: Path) -> None:
    document = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    for user in document["users"]:
        user["user"] = {"token": "of-yesterday"}
    (tmp_path / "kubeconfig").write_text(json.dumps(document))
    driver = driver_of("multios-test", tmp_path, kubeconfig=str(tmp_path / "kubeconfig"))
    with pytest.raises(Refused, match="does not accept your credentials"):
        up(driver, "multios-test", 1)


def test_the_events_of_many_pods_come_by_one_stream(namespace: str, tmp_path: Path) -> None:
    driver = driver_of(namespace, tmp_path)
    up(driver, namespace, 1)
    told: queue.Queue[tuple[str, str]] = queue.Queue()

    def watch() -> None:
        for event in driver.watch(namespace):
            told.put((event["action"], event["attributes"]["org.multios.app.service"]))

    threading.Thread(target=watch, daemon=True).start()
    time.sleep(3)  # until it watches: what was before is not told
    up(driver, namespace, 10)
    events: list[tuple[str, str]] = []
    while events.count(("ready", "web")) < 9:
        events.append(told.get(timeout=60))
    assert events.count(("create", "web")) == events.count(("start", "web")) == 9


def test_an_app_goes_up_changes_and_leaves_nothing(tmp_path: Path) -> None:
    name = f"multios-test-{uuid.uuid4().hex[:8]}"
    web = {"image": IMAGE, "command": ["sleep", "1000"], "user": "1000", "networking": {"ports": [8080]}}
    document = {
        "name": name,
        "services": {
            "web": {
                "container": web,
                "depends_on": {"prepare": {"condition": "completed"}},
                "files": [{"source": "site", "target": "/site"}],
                "update": {"order": "start-first"},
            },
            "prepare": {"container": {"image": IMAGE, "command": ["true"], "user": "1000"}},
        },
        "files": {"site": {"content": "eA=="}},
    }
    driver = KubernetesOrchestrator(KubernetesSettings(namespace=name), DriverContext(tmp_path, tmp_path))
    try:
        for variables in ({}, {"CHANGED": "yes"}):
            web["environment"] = variables
            app = app_document.parse(document)
            plan = driver.plan(app, driver.existing(app), PlanOptions())
            driver.apply(app, plan, lambda *_: None, ApplyOptions(wait=180.0))
            again = driver.plan(app, driver.existing(app), PlanOptions())
            assert {action.verb for action in again} == {"keep"}
        assert {item.service for item in driver.existing(app).instances} == {"web", "prepare"}
    finally:
        driver.destroy(name, lambda *_: None, DestroyOptions(volumes=True, stop_timeout=0))
    left = driver.existing(app)
    assert not left.instances
    assert {action.verb for action in driver.plan(app, left, PlanOptions())} == {"create"}


@pytest.mark.skipif(
    not IMAGE_BY_DIGEST,
    reason="this host has no image for its cluster: MULTIOS_TEST_CLUSTER_IMAGE_BY_DIGEST is not set",
)
def test_a_course_is_started_stopped_started_again_and_leaves_nothing(tmp_path: Path) -> None:
    name = f"multios-{uuid.uuid4().hex[:8]}"
    quota = CourseQuota(cpu=0.1, memory=64 << 20)
    course = Course(name, ("ada", "ben"), IMAGE_BY_DIGEST, quota=quota, network="shared")
    driver = KubernetesOrchestrator(KubernetesSettings(), DriverContext(tmp_path, tmp_path))
    try:
        for _ in range(2):
            driver.apply_course(course, lambda *_: None, ApplyOptions())
            assert {row.state for row in driver.course_state(name)} == {RUNNING}
            assert {action.verb for action in driver.plan_course(course)} == {"keep"}
            driver.stop_course(name, lambda *_: None)
            assert {row.state for row in driver.course_state(name)} == {STOPPED}
    finally:
        driver.destroy_course(name, lambda *_: None)
    assert not list(driver.course_state(name))
