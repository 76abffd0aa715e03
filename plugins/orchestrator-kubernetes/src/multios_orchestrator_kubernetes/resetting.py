"""Pods begin anew: they are removed, and what made them makes others. Volumes stay, because they are no part of a pod."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from multios.app_labels import SERVICE_LABEL
from multios.drivers.orchestrator import Action, Told
from multios.errors import MultiosError, NotFound, StepFailed, Unavailable
from multios.model.app import STARTED
from multios.model.course import COURSE_LABEL, CourseMachine
from multios_orchestrator_kubernetes import names, places, readiness, removal
from multios_orchestrator_kubernetes.apply import DONE
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.course import ENVIRONMENT, ROLE_LABEL
from multios_orchestrator_kubernetes.kinds import DEPLOYMENT, JOB, POD, REPLICA_SET
from multios_orchestrator_kubernetes.settings import KubernetesSettings

_GRACE = 1
"""Seconds to end. Without any, the API forgets a pod that may still run, and write to its volumes."""
_AT_ONCE = 8
_AGAIN = "back to its beginning"


def app(cluster: Cluster, name: str, namespace: str, settings: KubernetesSettings, told: Told) -> None:
    """All pods of Deployments, and wait for those that come. What a Job has done, or does, stays: it would count as a failure.

    Raises ``NotFound`` where there is no such app.
    """
    selector = names.selector(name)
    deployments = list(cluster.each(DEPLOYMENT, namespace, selector, metadata_only=True))
    jobs = list(cluster.each(JOB, namespace, selector, metadata_only=True))
    if not deployments and not jobs:
        raise NotFound(
            f"there is no app {name!r} in the namespace {namespace!r}",
            "bring it up: multios-container app up",
        )
    _remove_pods(cluster, namespace, selector, settings)
    for item in deployments:
        subject = item["metadata"]["name"]
        readiness.wait(cluster, DEPLOYMENT, namespace, subject, STARTED, settings.timeout)
        told(_action("restart", DEPLOYMENT.name, item, _AGAIN), DONE)
    for item in jobs:
        told(_action("keep", JOB.name, item, "it is left as it is: a job has one try after the other"), DONE)


def machines(
    cluster: Cluster, course: str, chosen: Sequence[CourseMachine], settings: KubernetesSettings, told: Told
) -> None:
    """The pods of these machines, some at a time, each told of when its next one runs.

    Raises ``StepFailed`` with the first reason when some did not.
    """
    failed: list[tuple[str, MultiosError]] = []

    def one(machine: CourseMachine) -> None:
        action = Action("restart", DEPLOYMENT.name, machine.name, _AGAIN, machine.student, 1)
        try:
            _machine(cluster, course, machine.name, settings)
        except MultiosError as error:
            failed.append((machine.name, error))
            told(action, error.cause)
        else:
            told(action, DONE)

    _side_by_side(one, chosen)
    if failed:
        name, error = failed[0]
        count = f"{len(failed)} of {len(chosen)} machines were not put back"
        raise StepFailed(f"course {course}", f"{count}; {name}: {error.cause}", error.remedy)


def _side_by_side(act: Callable[[CourseMachine], None], chosen: Sequence[CourseMachine]) -> None:
    with ThreadPoolExecutor(_AT_ONCE, "reset") as pool:
        for done in [pool.submit(act, machine) for machine in chosen]:
            done.result()


def _machine(cluster: Cluster, course: str, namespace: str, settings: KubernetesSettings) -> None:
    selector = f"{COURSE_LABEL}={names.label_value('name', course)}"
    found = cluster.get(DEPLOYMENT, namespace, ENVIRONMENT)
    if found is None or (found["metadata"].get("labels") or {}).get(COURSE_LABEL) != course:
        raise NotFound(f"{namespace}: there is no machine of {course}", "start the course")
    if not found["spec"].get("replicas", 1):
        raise Unavailable(f"{namespace} is stopped", "start the course: what is stopped begins anew then")
    _remove_pods(cluster, namespace, f"{selector},{ROLE_LABEL}={ENVIRONMENT}", settings)
    readiness.wait(cluster, DEPLOYMENT, namespace, ENVIRONMENT, STARTED, settings.timeout)


def _remove_pods(cluster: Cluster, namespace: str, selector: str, settings: KubernetesSettings) -> None:
    """Those of Deployments that have not ended, until they are gone."""
    old = {
        pod["metadata"]["name"]
        for pod in cluster.each(POD, namespace, selector)
        if places.phase(pod) not in ("Succeeded", "Failed") and _owner(pod) == REPLICA_SET.name
    }
    for pod in sorted(old):
        cluster.delete(POD, namespace, pod, _GRACE)

    def remaining() -> list[removal.Left]:
        return [item for item in removal.left(cluster, (POD,), namespace, selector) if item.name in old]

    removal.wait_until_gone(remaining, settings.timeout)


def _owner(pod: Mapping[str, Any]) -> str:
    """The kind of what made it, and makes another one."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((str(owner.get("kind", "")) for owner in owners if owner.get("controller")), "")


def _action(verb: str, kind: str, item: Mapping[str, Any], reason: str) -> Action:
    metadata = item["metadata"]
    return Action(verb, kind, metadata["name"], reason, (metadata.get("labels") or {}).get(SERVICE_LABEL, ""))
