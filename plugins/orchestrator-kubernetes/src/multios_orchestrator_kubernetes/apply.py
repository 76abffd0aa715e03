"""A plan is done: what does not depend on each other side by side, what fails stops only what depends on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from multios.drivers.orchestrator import Action, ApplyOptions, Told
from multios.errors import MultiosError, StepFailed
from multios.model.app import HEALTHY, App, Dependency
from multios_orchestrator_kubernetes import readiness, removal
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.kinds import BY_NAME, NAMESPACE, Kind
from multios_orchestrator_kubernetes.plan import ClusterAction
from multios_orchestrator_kubernetes.settings import KubernetesSettings

AT_ONCE = 8
"""Actions that are done side by side; the rate of requests is the limit before it."""
BEGUN, DONE = "begun", "done"


@dataclass(slots=True)
class Applying:
    """One apply. ``namespace`` is where the app is; ``planned`` are the services that the plan is about, ``failed`` those
    that failed, or could not begin.
    """

    cluster: Cluster
    app: App
    namespace: str
    settings: KubernetesSettings
    told: Told
    options: ApplyOptions
    planned: frozenset[str] = frozenset()
    failed: dict[str, MultiosError] = field(default_factory=dict)
    errors: list[MultiosError] = field(default_factory=list)

    def run(self, plan: Sequence[Action]) -> None:
        """All of ``plan``; what failed is raised at the end, the first of them."""
        self.planned = frozenset(action.service for action in plan)
        for action in plan:
            if action.verb == "keep":
                self.told(action, DONE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for stage in self._stages(plan):
                self._do_stage(pool, [action for action in stage if self._may_begin(action)])
            if self.options.wait and not self.errors:
                self._wait_for_all(pool)
        if self.errors:
            raise self.errors[0]

    def _stages(self, plan: Sequence[Action]) -> Iterator[list[Action]]:
        """Namespace, what workloads use, workloads by how deep they depend on others, and what is removed."""
        changes = [action for action in plan if action.verb in ("create", "recreate")]
        yield [action for action in changes if action.kind == NAMESPACE.name]
        apart = {NAMESPACE.name, *readiness.WORKLOADS}
        yield [action for action in changes if action.kind not in apart]
        workloads = [action for action in changes if action.kind in readiness.WORKLOADS]
        depths = _depths(self.app)
        for depth in sorted(set(depths.values())):
            yield [action for action in workloads if depths.get(action.service, 0) == depth]
        yield [action for action in plan if action.verb == "remove"]

    def _may_begin(self, action: Action) -> bool:
        """Not where something that its service needs has failed: what there is of it stays as it was."""
        if action.service not in self.failed:
            return True
        self.told(action, self.failed[action.service].cause)
        return False

    def _do_stage(self, pool: ThreadPoolExecutor, actions: Sequence[Action]) -> None:
        running: dict[Future[None], Action] = {}
        try:
            for action in actions:
                self.told(action, BEGUN)
                running[pool.submit(self._do, action)] = action
            while running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    self._finish(running.pop(future), future)
        finally:
            for future in running:
                future.cancel()

    def _finish(self, action: Action, future: Future[None]) -> None:
        try:
            future.result()
        except MultiosError as error:
            self.errors.append(error)
            users = action.users if isinstance(action, ClusterAction) else frozenset({action.service})
            for service in users or self.planned:
                self.failed.setdefault(service, error)
            self.told(action, error.cause)
        else:
            self.told(action, DONE)

    def _do(self, action: Action) -> None:
        kind = BY_NAME[action.kind]
        if action.verb == "remove":
            self.cluster.delete(kind, self.namespace, action.subject)
            return
        if not isinstance(action, ClusterAction):
            raise StepFailed(action.subject, "the plan is of another orchestrator", "plan again")
        if action.kind in readiness.WORKLOADS and self.options.start:
            self._wait_for_dependencies(action.service)
        if action.replaces:
            self._clear(kind, action.subject)
        self.cluster.apply(action.manifest, self.settings.field_manager, self.settings.force_conflicts)

    def _clear(self, kind: Kind, name: str) -> None:
        """Remove what cannot be changed, and wait: a new one of its name cannot be before."""
        self.cluster.delete(kind, self.namespace, name)

        def look() -> list[removal.Left]:
            there = self.cluster.get(kind, self.namespace, name)
            return [removal.Left(kind.name, self.namespace, name)] if there else []

        removal.wait_until_gone(look, self.settings.timeout)

    # --- dependencies -------------------------------------------------------------------------------

    def _wait_for_dependencies(self, name: str) -> None:
        service = self.app.service(name)
        for dependency in service.depends_on if service else ():
            if dependency.service not in self.planned:  # it was asked to be left alone, or may be missing
                continue
            try:
                self._wait_for(dependency)
            except MultiosError as error:
                if dependency.required:
                    self.failed.setdefault(name, error)
                    raise StepFailed(name, f"it depends on {error.cause}", error.remedy) from error

    def _wait_for(self, dependency: Dependency) -> None:
        if dependency.service in self.failed:
            error = self.failed[dependency.service]
            raise StepFailed(dependency.service, error.cause, error.remedy)
        for kind in readiness.WORKLOADS.values():
            if self.cluster.get(kind, self.namespace, dependency.service) is not None:
                readiness.wait(
                    self.cluster,
                    kind,
                    self.namespace,
                    dependency.service,
                    dependency.condition,
                    self.settings.timeout,
                )
                return
        raise StepFailed(dependency.service, "it is not there", "apply the whole app")

    def _wait_for_all(self, pool: ThreadPoolExecutor) -> None:
        def one(name: str, kind: Kind) -> None:
            readiness.wait(self.cluster, kind, self.namespace, name, HEALTHY, self.options.wait)

        waits = [
            pool.submit(one, service.name, kind)
            for service in self.app.services
            for kind in readiness.WORKLOADS.values()
            if self.cluster.get(kind, self.namespace, service.name) is not None
        ]
        for future in waits:
            try:
                future.result()
            except MultiosError as error:
                self.errors.append(error)


def _depths(app: App) -> Mapping[str, int]:
    """How many services stand, one upon the other, below each."""
    depths: dict[str, int] = {}
    for service in app.in_order():
        below = (depths[item.service] for item in service.depends_on if item.service in depths)
        depths[service.name] = 1 + max(below, default=0)
    return depths
