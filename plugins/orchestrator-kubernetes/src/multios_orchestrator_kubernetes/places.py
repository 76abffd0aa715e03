"""The pods of an app's services, numbered from 1 by their age, as commands name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multios.app_labels import APP_LABEL, SERVICE_LABEL
from multios.drivers.orchestrator import Place
from multios.errors import MultiosError, NotFound, nearest
from multios_orchestrator_kubernetes import names
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.kinds import POD

Pod = Mapping[str, Any]


def numbered(pods: Sequence[Pod]) -> list[tuple[Place, Pod]]:
    """Each with its place, the oldest of a service first; those that are being removed come last."""
    counts: dict[str, int] = {}
    found = []
    for pod in sorted(pods, key=_age):
        service = str((pod["metadata"].get("labels") or {}).get(SERVICE_LABEL, ""))
        counts[service] = counts.get(service, 0) + 1
        found.append((Place(service, counts[service]), pod))
    return found


def of_services(
    cluster: Cluster, namespace: str, app: str, services: Sequence[str]
) -> list[tuple[Place, Pod]]:
    """The pods of these services, which must have some (none: all services')."""
    found = numbered(list(cluster.each(POD, namespace, names.selector(app))))
    there = sorted({place.service for place, _ in found})
    for service in services:
        if service not in there:
            raise _no_pod(app, namespace, service, there)
    return [(place, pod) for place, pod in found if not services or place.service in services]


def running(cluster: Cluster, namespace: str, app: str, place: Place) -> str:
    """The name of the pod that is meant. Raises where there is none, or none that runs."""
    found = of_services(cluster, namespace, app, (place.service,))
    if place.number:
        found = [item for item in found if item[0].number == place.number]
        if not found:
            raise _no_pod(app, namespace, f"{place.service} {place.number}", [])
    for _, pod in found:
        if phase(pod) == "Running":
            return str(pod["metadata"]["name"])
    raise MultiosError(
        f"service {place.service!r} does not run: its pod is {phase(found[0][1]).lower()}",
        f"see why: kubectl --namespace {namespace} describe pods --selector {APP_LABEL}={app}",
    )


def phase(pod: Pod) -> str:
    """``Pending``, ``Running``, ``Succeeded``, ``Failed`` or ``Unknown``."""
    return str((pod.get("status") or {}).get("phase", "Pending"))


def _age(pod: Pod) -> tuple[bool, str, str]:
    metadata = pod["metadata"]
    return "deletionTimestamp" in metadata, str(metadata.get("creationTimestamp", "")), metadata["name"]


def _no_pod(app: str, namespace: str, service: str, there: list[str]) -> NotFound:
    guess = nearest(service, there)
    return NotFound(
        f"app {app!r} has no pod of a service {service!r} in the namespace {namespace!r}",
        f"did you mean {guess!r}?" if guess else "see `multios-container app ps`",
    )
