"""The driver class: light to import, each verb handed on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from multios.drivers.base import Capability, DriverContext
from multios.drivers.isolation import (
    Bundle,
    IsolationDriver,
    Launched,
    ProcessState,
    RefusedCall,
    Stdio,
)
from multios.model.container import Counters, ProcessSpec, Resources, Stats

if TYPE_CHECKING:
    from multios.model.health import HealthCheck


@dataclass(frozen=True, slots=True)
class Settings:
    """``cgroup_mount``: whether containers see their own cgroup under /sys/fs/cgroup, where the spec mounts it."""

    cgroup_mount: bool = True


class NamespaceIsolation(IsolationDriver):
    """Each verb stands in :mod:`multios_isolation_ns.containers`, which is imported at first use."""

    name: ClassVar[str] = "ns"
    summary: ClassVar[str] = "Linux namespaces, idmapped mounts, seccomp; root inside is nobody outside"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.PAUSE,
            Capability.UPDATE,
            Capability.STATS,
            Capability.EXEC,
            Capability.TERMINAL,
            Capability.USER_NAMESPACE,
            Capability.SHARED_NETWORK,
            Capability.LANDLOCK,
        }
    )
    Settings: ClassVar[type] = Settings
    launcher: ClassVar[str] = "multios_isolation_ns.launch"

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        from multios_isolation_ns.containers import Containers  # deferred: listing plugins must stay light

        self._containers = Containers(settings, context, self.launcher)

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """Namespaces and idmapped overlays, on this host."""
        from multios_isolation_ns.health import checks  # deferred: only doctor needs it

        return checks()

    def create(self, bundle: Bundle) -> Launched:
        """See the contract."""
        return self._containers.create(bundle)

    def start(self, container_id: str) -> None:
        """See the contract."""
        self._containers.start(container_id)

    def kill(self, container_id: str, signal: int, everything: bool = False) -> None:
        """See the contract."""
        self._containers.kill(container_id, signal, everything)

    def delete(self, container_id: str) -> None:
        """See the contract."""
        self._containers.delete(container_id)

    def state(self, container_id: str) -> ProcessState:
        """See the contract."""
        return self._containers.state(container_id)

    def exec(self, container_id: str, exec_id: str, process: ProcessSpec, stdio: Stdio) -> Launched:
        """See the contract."""
        return self._containers.exec(container_id, exec_id, process, stdio)

    def pause(self, container_id: str) -> None:
        """See the contract."""
        self._containers.pause(container_id)

    def resume(self, container_id: str) -> None:
        """See the contract."""
        self._containers.resume(container_id)

    def update(self, container_id: str, resources: Resources) -> None:
        """See the contract."""
        self._containers.update(container_id, resources)

    def stats(self, container_id: str) -> Stats:
        """See the contract."""
        return self._containers.stats(container_id)

    def counters(self, container_id: str) -> Counters:
        """See the contract."""
        return self._containers.counters(container_id)

    def processes(self, container_id: str) -> tuple[int, ...]:
        """See the contract."""
        return self._containers.processes(container_id)

    def refused_calls(self, container_id: str, record: str) -> tuple[RefusedCall, ...]:
        """See the contract."""
        return self._containers.refused(container_id, record)

    def watches_refusals(self, container_id: str) -> bool:
        """See the contract."""
        return self._containers.watches(container_id)
