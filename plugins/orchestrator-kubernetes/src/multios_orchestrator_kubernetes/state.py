"""What a cluster has of an app."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multios.app_labels import APP_LABEL, SERVICE_LABEL
from multios.errors import Refused
from multios.model.app import App, AppState, Instance
from multios_orchestrator_kubernetes import names
from multios_orchestrator_kubernetes.cluster import Cluster, Failed
from multios_orchestrator_kubernetes.kinds import NAMESPACE, OF_APPS, POD

Key = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object of the app's; ``service`` is empty for what belongs to none."""

    service: str = ""
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    is_being_removed: bool = False


@dataclass(frozen=True, slots=True)
class ClusterState(AppState):
    """``instances`` are pods. ``elsewhere`` has kind and name of what is in the namespace and not the app's.

    ``namespace_is`` is ``absent``, ``ours`` (made for the app) or ``given``. ``version`` is the API server's.
    """

    objects: Mapping[Key, Found] = field(default_factory=dict)
    namespace: str = ""
    namespace_is: str = "absent"
    version: tuple[int, int] = (0, 0)


def read(cluster: Cluster, app: App, namespace: str) -> ClusterState:
    """What there is. Reads only; foreign objects are looked for only where ``app`` has services that could meet them."""
    selector = names.selector(app.name)
    found = _namespace(cluster, namespace)
    if found is None:
        return ClusterState(namespace=namespace, version=cluster.version())
    ours = _labels(found).get(APP_LABEL) == app.name
    if ours and _found(found).is_being_removed:  # and so is all that is in it
        gone = {(NAMESPACE.name, namespace): _found(found)}
        return ClusterState(objects=gone, namespace=namespace, namespace_is="ours", version=cluster.version())
    objects = {
        (kind.name, item["metadata"]["name"]): _found(item)
        for kind in OF_APPS
        for item in cluster.each(kind, namespace, selector, metadata_only=True)
    }
    if ours:
        objects[(NAMESPACE.name, namespace)] = _found(found)
    pods = list(cluster.each(POD, namespace, selector))
    return ClusterState(
        instances=tuple(_instance(pod) for pod in pods),
        elsewhere=_elsewhere(cluster, app, namespace) if app.services else frozenset(),
        objects=objects,
        namespace=namespace,
        namespace_is="ours" if ours else "given",
        version=cluster.version(),
    )


def _namespace(cluster: Cluster, name: str) -> Mapping[str, Any] | None:
    """The namespace; an empty one where it may not be read: who has rights in one alone may not, and then it is there."""
    try:
        return cluster.get(NAMESPACE, "", name)
    except Refused as refused:
        if isinstance(refused.__cause__, Failed) and refused.__cause__.fault.status == 403:
            return {}
        raise


def _elsewhere(cluster: Cluster, app: App, namespace: str) -> frozenset[Key]:
    selector = f"{APP_LABEL}!={app.name}"
    return frozenset(
        (kind.name, item["metadata"]["name"])
        for kind in OF_APPS
        for item in cluster.each(kind, namespace, selector, metadata_only=True)
    )


def _labels(item: Mapping[str, Any]) -> Mapping[str, str]:
    return (item.get("metadata") or {}).get("labels") or {}


def _found(item: Mapping[str, Any]) -> Found:
    metadata = item["metadata"]
    text = (metadata.get("annotations") or {}).get(names.FINGERPRINT_ANNOTATION, "{}")
    try:
        fingerprint = json.loads(text)
    except ValueError:
        fingerprint = None
    return Found(
        service=_labels(item).get(SERVICE_LABEL, ""),
        fingerprint=fingerprint if isinstance(fingerprint, dict) else {},
        is_being_removed="deletionTimestamp" in metadata,
    )


def _instance(pod: Mapping[str, Any]) -> Instance:
    metadata, status = pod["metadata"], pod.get("status") or {}
    running: Mapping[str, Any] = next(iter(status.get("containerStatuses") or ()), {})
    return Instance(
        id=str(metadata.get("uid", "")),
        name=str(metadata["name"]),
        service=_labels(pod).get(SERVICE_LABEL, ""),
        number=0,
        status=_status(pod),
        image_id=str(running.get("imageID", "")),
    )


def _status(pod: Mapping[str, Any]) -> str:
    """A pod's phase in the engine's words."""
    phase = (pod.get("status") or {}).get("phase", "Pending")
    return {"Running": "running", "Succeeded": "exited", "Failed": "exited"}.get(phase, "created")
