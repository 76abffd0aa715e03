"""A course: its plan for many students, its admission, its end."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import kubernetes_schema
from kubernetes_server import Request, Server
from multios.drivers.orchestrator import Action, ApplyOptions
from multios.errors import Conflict, InvalidInput, StepFailed, Unavailable
from multios.model.course import Course, CourseQuota
from multios_orchestrator_kubernetes import KubernetesOrchestrator, course_apply
from multios_orchestrator_kubernetes.course import plan
from multios_orchestrator_kubernetes.settings import KubernetesSettings

Driver = Callable[..., KubernetesOrchestrator]
IMAGE = "registry.school/python@sha256:" + "a" * 64
CLASS = Course(
    name="python",
    students=("ada", "ben", "cleo", "dan", "eve", "finn"),
    image=IMAGE,
    quota=CourseQuota(cpu=0.5, memory=256 << 20, storage=1 << 30),
    at_once=2,
    warm=2,
    egress=("10.1.0.0/16",),
)
SETTINGS = KubernetesSettings(runtime_class="gvisor")


def manifests(course: Course, student: str) -> dict[str, dict[str, Any]]:
    namespace = course.machine(student)
    actions = plan(course, {}, SETTINGS, (1, 37))
    return {action.kind: dict(action.manifest) for action in actions if action.namespace == namespace}


def put(driver: KubernetesOrchestrator, course: Course, **planning: Any) -> list[str]:
    told: list[str] = []
    cluster = driver.cluster()

    def tell(action: Action, what: str) -> None:
        if action.verb != "keep":
            told.append(f"{action.subject} {what}")

    found, foreign = course_apply.existing(cluster, course)
    steps = plan(course, found, driver.settings, (1, 37), foreign=foreign, **planning)
    course_apply.Admission(cluster, course, driver.settings, tell).run(steps)
    return told


@pytest.mark.parametrize("profile", ["restricted", "baseline"])
def test_every_object_of_a_course_is_what_the_published_schema_says(profile: Any) -> None:
    course = dataclasses.replace(CLASS, profile=profile, user=0 if profile == "baseline" else 1000)
    found = [kubernetes_schema.problems(dict(item.manifest)) for item in plan(course, {}, SETTINGS, (1, 37))]
    assert len(found) == 5 + 6 * 6
    assert not any(found)


def test_a_student_has_a_closed_namespace_with_bounds() -> None:
    objects = manifests(CLASS, "ada")
    assert objects["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert objects["ResourceQuota"]["spec"]["hard"]["services.loadbalancers"] == "0"
    assert objects["LimitRange"]["spec"]["limits"][0]["max"] == {
        "cpu": "500m",
        "memory": str(256 << 20),
        "ephemeral-storage": str(1 << 30),
    }
    policy = objects["NetworkPolicy"]["spec"]
    assert policy["podSelector"] == {}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy


def test_a_students_pod_has_what_the_restricted_profile_asks_for() -> None:
    pod = manifests(CLASS, "ada")["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["hostUsers"] is False
    assert pod["runtimeClassName"] == "gvisor"
    assert container["image"] == IMAGE


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"image": "python:3"}, "image: 'python:3' has no digest"),
        ({"students": ("Ada",)}, "students: 'python-Ada'"),
        ({"students": ("ada", "ada")}, "students: 'ada' is named twice"),
        ({"students": ()}, "students: 0"),
        ({"user": 0}, "user: the profile 'restricted' has no root"),
        ({"at_once": 0}, "at_once"),
        ({"network": "none"}, "egress: the network 'none' reaches nothing"),
        ({"name": "course", "students": ("course",)}, "students: 'course-course' is where"),
        ({"part": "Python"}, "name: 'course-python-Python'"),
    ],
)
def test_a_course_that_no_cluster_takes_is_refused(change: dict[str, Any], cause: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        list(plan(dataclasses.replace(CLASS, **change), {}, SETTINGS))
    assert refused.value.cause.startswith(cause)


@pytest.mark.parametrize(
    ("network", "comes_in", "goes_out"),
    [("none", 0, 0), ("isolated", 0, 0), ("shared", 1, 1), ("open", 1, 3)],
)
def test_a_courses_network_is_what_its_policies_let_through(
    network: Any, comes_in: int, goes_out: int
) -> None:
    course = dataclasses.replace(CLASS, network=network, egress=())
    policy = manifests(course, "ada")["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy.get("ingress", ())) == comes_in
    assert len(policy.get("egress", ())) == goes_out
    text = json.dumps(policy)
    assert ("0.0.0.0/0" in text) == (network == "open")
    assert ("169.254.0.0/16" in text) == (network == "open"), "the credentials of a cloud's nodes are there"
    assert ('"org.multios.course": "python"' in text) == (network in ("shared", "open"))


def test_without_a_command_the_images_own_runs_on_a_terminal() -> None:
    pod = manifests(dataclasses.replace(CLASS, command=()), "ada")["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "command" not in container
    assert container["stdin"] and container["tty"]


def test_the_kinds_of_a_courses_machines_are_apart(driver: Driver, server: Server) -> None:
    empty = set(server.store.objects)
    first, second = (dataclasses.replace(CLASS, part=part) for part in ("python", "shell"))
    put(driver(), first)
    put(driver(), second)
    assert put(driver(), first) == []
    assert {"python-ada-python", "python-ada-shell"} <= set(server.store.named("Namespace"))
    rows = list(driver().course_state("python"))
    assert {(row.student, row.part) for row in rows} >= {("ada", "python"), ("ada", "shell")}
    assert len(rows) == 12
    driver().destroy_course("python", lambda *_: None)
    assert set(server.store.objects) == empty


def test_a_namespace_that_is_not_the_courses_is_never_taken(driver: Driver, server: Server) -> None:
    server.store.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "python-cleo"}})
    with pytest.raises(Conflict, match="a namespace 'python-cleo' that is not of the course"):
        driver().apply_course(CLASS, lambda *_: None, ApplyOptions())
    assert not server.changes()


def test_stopped_machines_have_no_pods_and_start_again(driver: Driver, server: Server) -> None:
    put(driver(), CLASS)
    assert {(row.state, row.keeps) for row in driver().course_state("python")} == {("running", True)}
    driver().stop_course("python", lambda *_: None)
    assert {row.state for row in driver().course_state("python")} == {"stopped"}
    pods = server.store.select("pods", "", "")
    assert pods == [], "neither students' nor those that keep places"
    assert server.store.named("PersistentVolumeClaim")
    told: list[tuple[str, str]] = []
    driver().stop_course("python", lambda action, what: told.append((action.subject, what)))
    assert told == []
    put(driver(), CLASS)
    assert {row.state for row in driver().course_state("python")} == {"running"}
    assert len(server.store.select("pods", "", "org.multios.course.part=environment")) == 6


def test_a_machine_that_is_not_there_yet_is_missing_and_one_that_cannot_run_says_why(
    driver: Driver, server: Server
) -> None:
    put(driver(), CLASS)
    server.store.delete(("deployments", "python-ada", "environment"))
    refused = {"status": "True", "type": "ReplicaFailure", "message": "exceeded quota: strict"}
    server.store.edit(
        "Deployment", "python-ben", "environment",
        {"status": {"observedGeneration": 1, "availableReplicas": 0, "conditions": [refused]}},
    )  # fmt: skip
    rows = {row.student: row for row in driver().course_state("python")}
    assert rows["ada"].state == "missing"
    assert (rows["ben"].state, rows["ben"].problem) == ("starting", "exceeded quota: strict")
    assert rows["cleo"].since > 0


# VmHWM is this program's own (proc_pid_status(5)); ru_maxrss begins with that of who started it.
MEASURE = """
import json, re, sys, time
from multios.model.course import Course, CourseQuota
from multios_orchestrator_kubernetes.course import plan
from multios_orchestrator_kubernetes.settings import KubernetesSettings
students = tuple(f"s{number}" for number in range(10_000))
course = Course("python", students, "r/p@sha256:" + "a" * 64, quota=CourseQuota(storage=1 << 30), warm=50)
begun = time.process_time()
bytes_ = sum(len(json.dumps(action.manifest)) for action in plan(course, {}, KubernetesSettings(), (1, 37)))
fresh = time.process_time() - begun
found = {}
for action in plan(course, {}, KubernetesSettings(), (1, 37)):
    metadata = action.manifest["metadata"]
    key = (action.kind, metadata.get("namespace", ""), action.subject)
    found[key] = metadata["annotations"]["org.multios.app.fingerprint"]
begun = time.process_time()
verbs = {action.verb for action in plan(course, found, KubernetesSettings(), (1, 37))}
again = time.process_time() - begun
print(json.dumps({"fresh": fresh, "again": again, "objects": len(found), "bytes": bytes_, "verbs": sorted(verbs),
                  "memory": int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10}))
"""


def test_ten_thousand_students_are_planned_in_seconds_and_little_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=120
    )
    measured = json.loads(done.stdout)
    print(measured)
    assert measured["objects"] == 5 + 10_000 * 6
    assert measured["verbs"] == ["keep"]
    assert measured["fresh"] <= 10
    assert measured["again"] <= 10
    assert measured["memory"] <= 300 << 20


def test_a_course_is_put_on_a_cluster_and_a_second_time_changes_nothing(
    driver: Driver, server: Server
) -> None:
    told = put(driver(), CLASS)
    assert told[:2] == ["course-python begun", "course-python done"]
    assert set(server.store.named("Namespace")) >= {"course-python", "python-ada", "python-finn"}
    assert len(server.store.select("pods", "", "")) == 6 + 2
    assert put(driver(), CLASS) == []


def test_no_more_students_than_allowed_are_let_in_at_a_time(driver: Driver, server: Server) -> None:
    server.store.behaviour.start_seconds = 0.2
    waiting: list[int] = []

    def count(request: Request) -> None:
        deployments = server.store.select("deployments", "", "")
        waiting.append(
            sum("status" not in item and item["metadata"]["name"] == "environment" for item in deployments)
        )

    server.fault = count
    put(driver(), CLASS)
    assert max(waiting) == 2


def test_one_students_failure_is_not_anothers(driver: Driver, server: Server) -> None:
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "strict", "namespace": "python-cleo"},
        "spec": {"hard": {"pods": "0"}},
    }  # fmt: skip
    server.store.add(quota)
    with pytest.raises(
        StepFailed, match=r"course python: 1 of 7 namespaces failed; python-cleo: .*exceeded quota: strict"
    ):
        put(driver(), CLASS)
    environments = server.store.select("pods", "", "org.multios.course.part=environment")
    assert len(environments) == 5
    server.store.delete(("resourcequotas", "python-cleo", "strict"))


def test_a_student_who_left_keeps_his_work_until_it_is_asked_for(driver: Driver, server: Server) -> None:
    put(driver(), CLASS)
    smaller = dataclasses.replace(CLASS, students=CLASS.students[1:])
    assert put(driver(), smaller) == []
    put(driver(), smaller, remove_gone=True)
    assert "python-ada" not in server.store.named("Namespace")
    assert "python-ben" in server.store.named("Namespace")


def test_nothing_is_left_of_a_course_that_is_destroyed(driver: Driver, server: Server) -> None:
    empty = set(server.store.objects)
    put(driver(), CLASS)
    server.store.behaviour.removal_seconds = 0.2
    ours = driver(timeout=4.0)  # time for all but what is held
    server.store.edit(
        "Deployment", "python-ada", "environment", {"metadata": {"finalizers": ["example.org/hold"]}}
    )
    with pytest.raises(Unavailable, match="there are left: Namespace python-ada"):
        course_apply.destroy(ours.cluster(), "python", ours.settings, lambda *_: None)

    def release() -> None:
        server.store.release(("deployments", "python-ada", "environment"))

    threading.Timer(0.1, release).start()
    with_time = driver(timeout=60.0)
    course_apply.destroy(with_time.cluster(), "python", with_time.settings, lambda *_: None)
    assert set(server.store.objects) == empty
