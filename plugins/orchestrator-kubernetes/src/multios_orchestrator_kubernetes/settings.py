"""The driver's settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from multios.model.quantities import parse_size

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _size(value: Any, name: str) -> int:
    return parse_size(value, name)


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Of ``[orchestrator.kubernetes]``, or options of the command."""

    kubeconfig: str = ""
    """Its path; empty is what ``KUBECONFIG`` names, else ``~/.kube/config``."""
    context: str = ""
    """Which of the kubeconfig's contexts; empty is its current one."""
    namespace: str = ""
    """Where the app is; empty is the context's, and one of the app's name where it has none."""
    field_manager: str = "multios"
    """The name under which changes are made, as the cluster records them."""
    force_conflicts: bool = False
    """Whether fields that others manage are taken over."""
    runtime_class: str = ""
    """The RuntimeClass of every pod, such as one of a sandbox; empty is the cluster's default."""
    host_users: Literal["auto", "true", "false"] = "auto"
    """``hostUsers`` of every pod: ``false`` gives it a user namespace; ``auto`` does from Kubernetes 1.33 on."""
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """How ports are published: inside the cluster and by ``kubectl port-forward``, on every node, or by a balancer."""
    storage_class: str = ""
    """Of volumes; empty is the cluster's default."""
    volume_size: int = field(default=1 << 30, metadata={"parse": _size})
    """Of each volume, in bytes, or as ``5G``."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets in the namespace with credentials of registries."""
    rate: float = 20.0
    """Requests a second in the long run; 0 is without limit."""
    burst: int = 40
    """Requests at once."""
    timeout: float = 300.0
    """Seconds that a dependency may take until it is ready, and a removal until it is done."""

    def __post_init__(self) -> None:
        """Refuse what no cluster takes (``ValueError``)."""
        if self.namespace and not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"namespace: {self.namespace!r} is no name of a namespace")
        if not 0 < len(self.field_manager) <= 128 or not self.field_manager.isprintable():
            raise ValueError("field_manager: it has 1 to 128 printable letters")
        for name in ("rate", "burst", "timeout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: it is not below 0")
