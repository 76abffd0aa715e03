"""The kinds of objects that are made, and where the Kubernetes API has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """``version`` is its ``apiVersion``; ``plural`` its part of a path."""

    name: str
    version: str
    plural: str
    is_namespaced: bool = True

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of one object, or of all in ``namespace``, or in all namespaces."""
        parts = ["/api" if "/" not in self.version else "/apis", self.version]
        if namespace and self.is_namespaced:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *([name] if name else [])])


NAMESPACE = Kind("Namespace", "v1", "namespaces", is_namespaced=False)
PRIORITY_CLASS = Kind("PriorityClass", "scheduling.k8s.io/v1", "priorityclasses", is_namespaced=False)
CONFIG_MAP = Kind("ConfigMap", "v1", "configmaps")
SECRET = Kind("Secret", "v1", "secrets")
VOLUME_CLAIM = Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims")
QUOTA = Kind("ResourceQuota", "v1", "resourcequotas")
LIMIT_RANGE = Kind("LimitRange", "v1", "limitranges")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
SERVICE = Kind("Service", "v1", "services")
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments")
DAEMON_SET = Kind("DaemonSet", "apps/v1", "daemonsets")
JOB = Kind("Job", "batch/v1", "jobs")
REPLICA_SET = Kind("ReplicaSet", "apps/v1", "replicasets")
POD = Kind("Pod", "v1", "pods")

OF_APPS = (DEPLOYMENT, JOB, SERVICE, CONFIG_MAP, SECRET, NETWORK_POLICY, VOLUME_CLAIM)
"""What an app is made of in its namespace; what uses others goes before them, as they are removed."""
FOLLOWING = (REPLICA_SET, POD)
"""What the cluster makes for workloads, and removes with them."""
BY_NAME = {
    kind.name: kind
    for kind in (
        *(NAMESPACE, PRIORITY_CLASS, CONFIG_MAP, SECRET, VOLUME_CLAIM, QUOTA, LIMIT_RANGE, NETWORK_POLICY),
        *(SERVICE, DEPLOYMENT, DAEMON_SET, JOB, REPLICA_SET, POD),
    )
}


def key_of(manifest: Manifest) -> tuple[str, str]:
    """Kind and name: what an object is called in its namespace."""
    return manifest["kind"], manifest["metadata"]["name"]
