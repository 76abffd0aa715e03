"""When a workload is as far as somebody waits for, and why it is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from multios.app_labels import APP_LABEL, SERVICE_LABEL
from multios.errors import MultiosError, StepFailed
from multios.model.app import COMPLETED, STARTED
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.faults import one_line
from multios_orchestrator_kubernetes.kinds import DAEMON_SET, DEPLOYMENT, JOB, POD, Kind

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0
_PATIENCE = 15.0
"""Seconds that a refusal of pods may last."""


def wait(
    cluster: Cluster,
    kind: Kind,
    namespace: str,
    name: str,
    condition: str,
    seconds: float,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Until the Deployment or Job ``name`` is ``started``, ``healthy`` or ``completed``.

    Raises ``StepFailed``, with the cluster's reason, when it fails or the time is over; and what ``sleep`` raises.
    """
    end, pause, refused_since = time.monotonic() + seconds, _SHORTEST_PAUSE, 0.0
    while True:
        found = cluster.get(kind, namespace, name)
        if found is None:
            raise StepFailed(name, "it was removed while it was waited for", "apply again")
        if _is_reached(cluster, kind, namespace, condition, found):
            return
        look = f"look at it: kubectl --namespace {namespace} describe pods"
        if reason := _failure(kind, found):
            raise StepFailed(name, reason, look)
        refusal = _refusal(found)
        refused_since = (refused_since or time.monotonic()) if refusal else 0.0
        if refusal and time.monotonic() >= refused_since + _PATIENCE:
            raise StepFailed(name, refusal, look)
        if time.monotonic() >= end:
            reason = refusal or _pod_reason(cluster, namespace, found) or "its pods are not ready"
            raise StepFailed(
                name, f"not {condition} after {seconds:.0f} s: {reason}", "correct it, or raise the timeout"
            )
        sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def why_not(kind: Kind, found: Mapping[str, Any]) -> str:
    """What the workload itself says of why it has no pods, or an empty text. Asks nobody."""
    return _failure(kind, found) or _refusal(found)


def _is_reached(
    cluster: Cluster, kind: Kind, namespace: str, condition: str, found: Mapping[str, Any]
) -> bool:
    status = found.get("status") or {}
    if kind is JOB and (condition == COMPLETED or _condition(found, "Complete")):
        return _condition(found, "Complete") is not None
    wanted = int((found.get("spec") or {}).get("replicas", 1))
    if condition == STARTED and wanted:
        return any(
            (pod.get("status") or {}).get("phase") in ("Running", "Succeeded")
            for pod in cluster.each(POD, namespace, _pods_of(found))
        )
    if kind is JOB:
        return int(status.get("ready") or 0) > 0
    is_seen = _is_seen(found)
    if kind is DAEMON_SET:
        return is_seen and int(status.get("numberReady") or 0) >= int(
            status.get("desiredNumberScheduled") or 0
        )
    return (
        is_seen
        and int(status.get("updatedReplicas") or 0) >= wanted
        and int(status.get("availableReplicas") or 0) >= wanted
    )


def _failure(kind: Kind, found: Mapping[str, Any]) -> str:
    """Why it will not get there, or an empty text."""
    if kind is JOB:
        return _said(_condition(found, "Failed"))
    return _said(_condition(found, "Progressing", "False") if _is_seen(found) else None)


def _refusal(found: Mapping[str, Any]) -> str:
    """Why it gets no pods, such as a quota; while pods of before still end, that may pass."""
    return _said(_condition(found, "ReplicaFailure") if _is_seen(found) else None)


def _said(condition: Mapping[str, Any] | None) -> str:
    if condition is None:
        return ""
    return one_line(str(condition.get("message") or condition.get("reason") or "it failed"))


def _is_seen(found: Mapping[str, Any]) -> bool:
    """Whether the status is of the object as it is now, and not of the one before."""
    seen = (found.get("status") or {}).get("observedGeneration") or 0
    return int(seen) >= int(found["metadata"].get("generation") or 0)


def _condition(found: Mapping[str, Any], kind: str, status: str = "True") -> Mapping[str, Any] | None:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next(
        (item for item in conditions if item.get("type") == kind and item.get("status") == status), None
    )


def _pods_of(found: Mapping[str, Any]) -> str:
    """The selector of the workload's pods."""
    chosen = ((found.get("spec") or {}).get("selector") or {}).get("matchLabels")
    labels = chosen or {key: found["metadata"]["labels"][key] for key in (APP_LABEL, SERVICE_LABEL)}
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _pod_reason(cluster: Cluster, namespace: str, found: Mapping[str, Any]) -> str:
    """What the first pod that waits says, such as that its image cannot be pulled."""
    try:
        pods = list(cluster.each(POD, namespace, _pods_of(found)))
    except MultiosError:
        return ""
    for pod in pods:
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or ():
            if waiting := (container.get("state") or {}).get("waiting"):
                return one_line(f"{waiting.get('reason', '')}: {waiting.get('message', '')}".strip(": "))
        if unscheduled := _condition(pod, "PodScheduled", "False"):
            return one_line(str(unscheduled.get("message", "")))
    return ""


WORKLOADS = {DEPLOYMENT.name: DEPLOYMENT, JOB.name: JOB}
