"""The events of an app's pods: one list, then one stream that goes on where it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from multios.app_labels import APP_LABEL, SERVICE_LABEL
from multios_orchestrator_kubernetes import faults, names
from multios_orchestrator_kubernetes.cluster import Cluster, Failed
from multios_orchestrator_kubernetes.kinds import POD

_GONE = 410
_PAUSE = 1.0
"""Seconds before a stream that ended is opened again, so that a server that ends each is not asked without pause."""


def pods(cluster: Cluster, app: str, namespace: str) -> Iterator[Mapping[str, Any]]:
    """Events as ``multios_event`` has them, from now on, without end. What is missed between two lists is told after it."""
    selector = names.selector(app)
    items, version = cluster.listed(POD, namespace, selector)
    known: dict[str, Mapping[str, Any]] = {item["metadata"]["name"]: item for item in items}
    while True:
        try:
            for event in cluster.events(POD, namespace, selector, version):
                pod = event["object"]
                version = str((pod.get("metadata") or {}).get("resourceVersion") or version)
                if event.get("type") != "BOOKMARK":
                    yield from _changes(app, known, event.get("type", ""), pod)
        except Failed as failed:
            if failed.fault.status != _GONE:
                raise faults.error(failed.fault, "watch", cluster.context) from failed
            items, version = cluster.listed(POD, namespace, selector)
            yield from _missed(app, known, items)
        time.sleep(_PAUSE)


def _missed(
    app: str, known: dict[str, Mapping[str, Any]], items: list[dict[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """What a new list differs in from what is known."""
    names_now = {item["metadata"]["name"] for item in items}
    for name in [name for name in known if name not in names_now]:
        yield from _changes(app, known, "DELETED", known[name])
    for item in items:
        yield from _changes(app, known, "MODIFIED", item)


def _changes(
    app: str, known: dict[str, Mapping[str, Any]], kind: str, pod: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """The events between what is known of a pod and what it is now: each change of its phase and its readiness, once."""
    name = pod["metadata"]["name"]
    before = known.get(name)
    if kind == "DELETED":
        known.pop(name, None)
        yield _event(app, pod, "delete")
        return
    known[name] = pod
    if before is None:
        yield _event(app, pod, "create")
    phase, phase_before = _phase(pod), _phase(before or {})
    if phase != phase_before and phase in ("Running", "Succeeded", "Failed"):
        yield _event(app, pod, "start" if phase == "Running" else "exit")
    if _is_ready(pod) != _is_ready(before or {}):
        yield _event(app, pod, "ready" if _is_ready(pod) else "unready")


def _phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _event(app: str, pod: Mapping[str, Any], action: str) -> dict[str, Any]:
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    return {
        "type": "container",
        "action": action,
        "id": str(metadata.get("uid", "")),
        "name": str(metadata["name"]),
        "time": time.time(),
        "attributes": {
            APP_LABEL: app,
            SERVICE_LABEL: str(labels.get(SERVICE_LABEL, "")),
            "namespace": str(metadata.get("namespace", "")),
        },
    }
