"""An app is removed: everything with its label, and its namespace where that was made for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multios.app_labels import SERVICE_LABEL
from multios.drivers.orchestrator import Action, DestroyOptions, Told
from multios.errors import Conflict
from multios_orchestrator_kubernetes import names, removal
from multios_orchestrator_kubernetes.apply import BEGUN, DONE
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.kinds import (
    CONFIG_MAP,
    FOLLOWING,
    NAMESPACE,
    OF_APPS,
    POD,
    SECRET,
    VOLUME_CLAIM,
    Kind,
)
from multios_orchestrator_kubernetes.settings import KubernetesSettings

_AUTHORITY = "kube-root-ca.crt"
_ACCOUNT = "kubernetes.io/service-account.name"


def app(
    cluster: Cluster,
    name: str,
    namespace: str,
    settings: KubernetesSettings,
    told: Told,
    options: DestroyOptions,
) -> None:
    """Remove it, and look again until nothing is left; without ``volumes``, those and a namespace that holds them stay.

    Raises ``Unavailable`` that names what is left after the time of the settings.
    """
    selector = names.selector(name)
    kinds = [kind for kind in OF_APPS if options.volumes or kind is not VOLUME_CLAIM]
    for kind in kinds:
        for item in list(cluster.each(kind, namespace, selector, metadata_only=True)):
            metadata = item["metadata"]
            service = (metadata.get("labels") or {}).get(SERVICE_LABEL, "")
            action = Action("remove", kind.name, metadata["name"], "the app is destroyed", service)
            told(action, BEGUN)
            cluster.delete(kind, namespace, metadata["name"])
            told(action, DONE)
    if options.stop_timeout is not None:
        for pod in list(cluster.each(POD, namespace, selector, metadata_only=True)):
            cluster.delete(POD, namespace, pod["metadata"]["name"], options.stop_timeout)
    removal.wait_until_gone(
        lambda: removal.left(cluster, (*kinds, *FOLLOWING), namespace, selector), settings.timeout
    )
    _remove_namespace(cluster, name, namespace, settings, told)


def _remove_namespace(
    cluster: Cluster, name: str, namespace: str, settings: KubernetesSettings, told: Told
) -> None:
    if not any(
        item["metadata"]["name"] == namespace
        for item in cluster.each(NAMESPACE, "", names.selector(name), metadata_only=True)
    ):
        return
    others = [
        removal.Left.of(kind, item["metadata"])
        for kind in OF_APPS
        for item in cluster.each(kind, namespace, "", metadata_only=True)
        if not _is_in_every_namespace(kind, item["metadata"])
    ]
    if any(item.kind == VOLUME_CLAIM.name for item in others):
        return  # volumes are kept, and with them where they are
    if others:
        raise Conflict(
            f"namespace {namespace!r} has more than the app: {', '.join(map(str, others[:5]))}",
            f"remove it first, or all at once: kubectl delete namespace {namespace}",
        )
    action = Action("remove", NAMESPACE.name, namespace, "it was made for the app")
    told(action, BEGUN)
    cluster.delete(NAMESPACE, "", namespace)
    removal.wait_until_gone(
        lambda: [
            item
            for item in removal.left(cluster, (NAMESPACE,), "", names.selector(name))
            if item.name == namespace
        ],
        settings.timeout,
    )
    told(action, DONE)


def _is_in_every_namespace(kind: Kind, metadata: Mapping[str, Any]) -> bool:
    """Whether the cluster has put it there: its authority, and before Kubernetes 1.24 a token of the default account."""
    if kind is SECRET:
        return (metadata.get("annotations") or {}).get(_ACCOUNT) == "default"
    return kind is CONFIG_MAP and metadata["name"] == _AUTHORITY
