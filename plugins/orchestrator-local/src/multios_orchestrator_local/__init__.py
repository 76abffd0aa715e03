"""Apps of several containers on this host. What does the work is imported when it is first used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from multios.app_labels import APP_LABEL
from multios.drivers.base import Calls, Capability
from multios.drivers.orchestrator import (
    Action,
    ApplyOptions,
    DestroyOptions,
    OrchestratorDriver,
    PlanOptions,
    Told,
)
from multios.errors import Unavailable
from multios.model.app import App, AppState


class LocalOrchestrator(OrchestratorDriver):
    """Containers, networks and volumes of this engine, known by their labels."""

    name: ClassVar[str] = "local"
    summary: ClassVar[str] = "apps on this host"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.RESET, Capability.SNAPSHOT})
    """Into its containers the client goes by itself: they are the engine's."""

    @property
    def _engine(self) -> Calls:
        if self.context.engine is None:
            raise Unavailable("the orchestrator 'local' needs an engine", "use it through the daemon")
        return self.context.engine

    def existing(self, app: App) -> AppState:
        """See :class:`OrchestratorDriver`."""
        from multios_orchestrator_local.existing import read

        return read(self._engine, app)

    def plan(self, app: App, existing: AppState, options: PlanOptions) -> tuple[Action, ...]:
        """See :class:`OrchestratorDriver`."""
        from multios_orchestrator_local.planning import plan

        return plan(app, existing, options)

    def apply(self, app: App, plan: Sequence[Action], told: Told, options: ApplyOptions) -> None:
        """See :class:`OrchestratorDriver`."""
        from multios_orchestrator_local.applying import Applying

        Applying(self._engine, app, told, options).run(plan)

    def watch(self, app: str) -> Iterator[Mapping[str, Any]]:
        """See :class:`OrchestratorDriver`."""
        return self._engine.stream(
            "system.events", {"filters": {"label": f"{APP_LABEL}={app}"}, "follow": True}
        )

    def destroy(self, app: str, told: Told, options: DestroyOptions) -> None:
        """See :class:`OrchestratorDriver`."""
        from multios_orchestrator_local.destroying import destroy

        destroy(self._engine, app, told, options)

    def snapshot(self, app: str, name: str, told: Told) -> None:
        """See :class:`OrchestratorDriver`."""
        from multios_orchestrator_local.resetting import snapshot

        snapshot(self._engine, app, name, told)

    def reset(self, app: str, to: str, told: Told) -> None:
        """See :class:`OrchestratorDriver`."""
        from multios_orchestrator_local.resetting import reset

        reset(self._engine, app, to, told)
