"""Removing until nothing is left, and saying what is left where something is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multios.errors import Unavailable
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.kinds import Kind

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Left:
    """An object that is still there, and what holds it."""

    kind: str
    namespace: str
    name: str
    finalizers: tuple[str, ...] = ()

    @classmethod
    def of(cls, kind: Kind, metadata: Mapping[str, Any]) -> Left:
        """What this object's metadata says of it."""
        finalizers = tuple(metadata.get("finalizers") or ())
        return cls(kind.name, metadata.get("namespace", ""), metadata["name"], finalizers)

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        held = f" (held by {', '.join(self.finalizers)})" if self.finalizers else ""
        return f"{self.kind} {where}{self.name}{held}"


def left(cluster: Cluster, kinds: Sequence[Kind], namespace: str, selector: str) -> list[Left]:
    """What there is with these labels."""
    return [
        Left.of(kind, item["metadata"])
        for kind in kinds
        for item in cluster.each(kind, namespace, selector, metadata_only=True)
    ]


def wait_until_gone(look: Callable[[], list[Left]], seconds: float) -> None:
    """Look again until ``look`` finds nothing. Raises ``Unavailable`` that names what is left when the time is over."""
    end, pause = time.monotonic() + seconds, _SHORTEST_PAUSE
    while remaining := look():
        if time.monotonic() >= end:
            shown = ", ".join(map(str, remaining[:_SHOWN]))
            more = f" and {len(remaining) - _SHOWN} more" if len(remaining) > _SHOWN else ""
            raise Unavailable(
                f"after {seconds:.0f} s there are left: {shown}{more}",
                "see what holds them (kubectl describe), then try again",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
