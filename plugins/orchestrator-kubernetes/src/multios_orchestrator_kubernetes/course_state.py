"""A course on a cluster as it is, and how its machines are stopped."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from multios.drivers.orchestrator import Action, Told
from multios.model import course as model
from multios.model.course import COURSE_LABEL, STUDENT_LABEL, CourseMachine
from multios_orchestrator_kubernetes import names, readiness, removal
from multios_orchestrator_kubernetes.apply import BEGUN, DONE
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.course import (
    ENVIRONMENT,
    KIND_LABEL,
    ROLE_LABEL,
    STOPPED,
)
from multios_orchestrator_kubernetes.kinds import DEPLOYMENT, NAMESPACE, POD
from multios_orchestrator_kubernetes.settings import KubernetesSettings


def machines(cluster: Cluster, name: str) -> Iterator[CourseMachine]:
    """One for each student's namespace, by what its Deployment says."""
    selector = f"{COURSE_LABEL}={names.label_value('name', name)},{STUDENT_LABEL}"
    found = {item["metadata"]["namespace"]: _machine(item) for item in cluster.each(DEPLOYMENT, "", selector)}
    for item in cluster.each(NAMESPACE, "", selector, metadata_only=True):
        metadata = item["metadata"]
        labels, namespace = metadata["labels"], metadata["name"]
        is_going = "deletionTimestamp" in metadata
        if namespace in found and not is_going:
            yield found[namespace]
        else:
            problem = "it is being removed" if is_going else ""
            yield CourseMachine(
                labels[STUDENT_LABEL], labels.get(KIND_LABEL, ""), namespace, model.MISSING, problem=problem
            )


def stop(cluster: Cluster, name: str, settings: KubernetesSettings, told: Told) -> None:
    """No replicas of students' Deployments and of what keeps places, and wait until students' pods are gone.

    Raises ``Unavailable`` that names which are not.
    """
    course = f"{COURSE_LABEL}={names.label_value('name', name)}"
    for item in cluster.each(DEPLOYMENT, "", course):
        if not item["spec"].get("replicas", 1):
            continue
        metadata = item["metadata"]
        student = metadata["labels"].get(STUDENT_LABEL, "")
        action = Action("recreate", DEPLOYMENT.name, metadata["namespace"], "it is stopped", student)
        told(action, BEGUN)
        cluster.apply(_without_replicas(item), settings.field_manager, settings.force_conflicts)
        told(action, DONE)
    pods = f"{course},{ROLE_LABEL}={ENVIRONMENT}"
    removal.wait_until_gone(lambda: removal.left(cluster, (POD,), "", pods), settings.timeout)


def _without_replicas(found: Mapping[str, Any]) -> dict[str, Any]:
    """The Deployment as it is, to be applied whole: fields that an apply leaves out would be given up."""
    metadata = found["metadata"]
    return {
        "apiVersion": DEPLOYMENT.version,
        "kind": DEPLOYMENT.name,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            "annotations": {names.FINGERPRINT_ANNOTATION: STOPPED},
        },
        "spec": {**found["spec"], "replicas": 0},
    }


def _machine(found: Mapping[str, Any]) -> CourseMachine:
    metadata, status = found["metadata"], found.get("status") or {}
    labels = metadata["labels"]
    problem = ""
    if not found["spec"].get("replicas", 1):
        state = model.STOPPED
    elif int(status.get("availableReplicas") or 0):
        state = model.RUNNING
    else:
        state, problem = model.STARTING, readiness.why_not(DEPLOYMENT, found)
    volumes = found["spec"]["template"]["spec"].get("volumes") or ()
    return CourseMachine(
        student=labels[STUDENT_LABEL],
        part=labels.get(KIND_LABEL, ""),
        name=metadata["namespace"],
        state=state,
        since=_seconds(metadata.get("creationTimestamp")),
        problem=problem,
        keeps=any("persistentVolumeClaim" in volume for volume in volumes),
    )


def _seconds(timestamp: str | None) -> float:
    try:
        return datetime.datetime.fromisoformat(timestamp or "").timestamp()
    except ValueError:
        return 0.0
