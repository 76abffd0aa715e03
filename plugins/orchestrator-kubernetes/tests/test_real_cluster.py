"""The same on a real cluster, where there is one: what KUBECONFIG names."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.drivers.orchestrator import ApplyOptions, DestroyOptions, PlanOptions
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
