"""Apps on a Kubernetes cluster: ``multios-container app up --orchestrator kubernetes``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from multios.drivers.base import Capability
from multios.drivers.orchestrator import (
    Action,
    ApplyOptions,
    CopyBounds,
    DestroyOptions,
    OrchestratorDriver,
    Place,
    PlanOptions,
    Told,
)
from multios.model.app import App, AppState
from multios.model.course import Course, CourseMachine
from multios_orchestrator_kubernetes.settings import KubernetesSettings

if TYPE_CHECKING:
    from multios.pace import Pace
    from multios_orchestrator_kubernetes.cluster import Cluster
    from multios_orchestrator_kubernetes.course import CourseAction
    from multios_orchestrator_kubernetes.inside import Inside


class KubernetesOrchestrator(OrchestratorDriver):
    """The driver. It has no state of its own: everything is found again in the cluster by its labels."""

    name: ClassVar[str] = "kubernetes"
    summary: ClassVar[str] = (
        "apps and courses on a Kubernetes cluster, with the rights of the user's kubeconfig"
    )
    needs_engine: ClassVar[bool] = False
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            *(Capability.EXEC, Capability.LOGS, Capability.COPY, Capability.FORWARD),
            *(Capability.RESET, Capability.COURSES),
        }
    )
    Settings: ClassVar[type] = KubernetesSettings

    def existing(self, app: App) -> AppState:
        """What the cluster has of it."""
        from multios_orchestrator_kubernetes import state

        cluster = self.cluster()
        return state.read(cluster, app, self._namespace(cluster, app.name))

    def plan(self, app: App, existing: AppState, options: PlanOptions) -> tuple[Action, ...]:
        """By fingerprints that stand on the objects; an ``existing`` of another driver is one without any."""
        from multios_orchestrator_kubernetes import plan, state

        if not isinstance(existing, state.ClusterState):
            existing = state.ClusterState(namespace=self.settings.namespace or app.name)
        return plan.make(app, existing, options, self.settings)

    def apply(self, app: App, plan: Sequence[Action], told: Told, options: ApplyOptions) -> None:
        """By server-side apply, in the order of dependencies."""
        from multios_orchestrator_kubernetes import apply

        cluster = self.cluster(options)
        namespace = self._namespace(cluster, app.name)
        apply.Applying(cluster, app, namespace, self.settings, told, options).run(plan)

    def watch(self, app: str) -> Iterator[Mapping[str, Any]]:
        """Those of its pods."""
        from multios_orchestrator_kubernetes import watch

        cluster = self.cluster()
        return watch.pods(cluster, app, self._namespace(cluster, app))

    def destroy(self, app: str, told: Told, options: DestroyOptions) -> None:
        """Until another list finds nothing."""
        from multios_orchestrator_kubernetes import destroy

        cluster = self.cluster()
        destroy.app(cluster, app, self._namespace(cluster, app), self.settings, told, options)

    def reset(self, app: str, to: str, told: Told) -> None:
        """By removing pods, which their Deployments make again. There is nothing to go back to: no state of a pod is kept."""
        from multios_orchestrator_kubernetes import resetting

        if to:
            raise self._cannot("keep states")
        cluster = self.cluster()
        resetting.app(cluster, app, self._namespace(cluster, app), self.settings, told)

    # --- into its pods ----------------------------------------------------------------------------------

    def execute(
        self,
        app: str,
        place: Place,
        command: Sequence[str],
        streams: tuple[int, int, int],
        terminal: bool = False,
    ) -> int:
        """By a websocket to the API server, which leads to the pod."""
        return self._inside(app, place).execute(command, streams, terminal)

    def logs(
        self, app: str, services: Sequence[str], follow: bool, tail: int | None
    ) -> Iterator[tuple[Place, bytes]]:
        """By one stream a pod."""
        from multios_orchestrator_kubernetes import logs

        cluster = self.cluster()
        namespace = self._namespace(cluster, app)
        if follow:
            return logs.Following(cluster, namespace, app, services, tail).lines()
        return logs.past(cluster, namespace, app, services, tail)

    def copy_in(self, app: str, place: Place, path: str, archive: int) -> None:
        """By the pod's own ``tar``."""
        self._inside(app, place).copy_in(path, archive)

    def copy_out(self, app: str, place: Place, path: str, archive: int) -> None:
        """By the pod's own ``tar``."""
        self._inside(app, place).copy_out(path, archive)

    def forward(self, app: str, place: Place, port: int, host_port: int) -> AbstractContextManager[int]:
        """By a websocket a connection."""
        from multios_orchestrator_kubernetes import forward, places

        cluster = self.cluster()
        namespace = self._namespace(cluster, app)
        return forward.listening(
            cluster, namespace, lambda: places.running(cluster, namespace, app, place), port, host_port
        )

    def _inside(self, app: str, place: Place) -> Inside:
        from multios_orchestrator_kubernetes import inside, places

        cluster = self.cluster()
        namespace = self._namespace(cluster, app)
        pod = places.running(cluster, namespace, app, place)
        return inside.Inside(cluster, namespace, pod, place)

    # --- courses ----------------------------------------------------------------------------------------

    def plan_course(self, course: Course) -> Iterator[Action]:
        """By fingerprints, student by student."""
        return self._course_plan(self.cluster(), course)

    def apply_course(self, course: Course, told: Told, options: ApplyOptions) -> None:
        """By server-side apply, a namespace a student."""
        from multios_orchestrator_kubernetes import course_apply

        cluster = self.cluster(options)
        plan = self._course_plan(cluster, course)
        course_apply.Admission(cluster, course, self.settings, told).run(plan)

    def course_state(self, name: str) -> Iterator[CourseMachine]:
        """As their Deployments say."""
        from multios_orchestrator_kubernetes import course_state

        return course_state.machines(self.cluster(), name)

    def stop_course(self, name: str, told: Told) -> None:
        """Their Deployments have no replicas then. What is not in a home that stays is gone."""
        from multios_orchestrator_kubernetes import course_state

        course_state.stop(self.cluster(), name, self.settings, told)

    def destroy_course(self, name: str, told: Told) -> None:
        """Namespace by namespace, until lists of all kinds find nothing."""
        from multios_orchestrator_kubernetes import course_apply

        course_apply.destroy(self.cluster(), name, self.settings, told)

    def copy_out_of_course(
        self, name: str, machine: CourseMachine, path: str, archive: int, bounds: CopyBounds
    ) -> None:
        """By the ``tar`` of the student's pod."""
        from multios_orchestrator_kubernetes import course_copy

        course_copy.out(self._shared_cluster, name, machine, path, archive, bounds)

    def copy_into_course(
        self, name: str, machine: CourseMachine, path: str, archive: int, seconds: float
    ) -> None:
        """By the ``tar`` of the student's pod."""
        from multios_orchestrator_kubernetes import course_copy

        course_copy.into(self._shared_cluster, name, machine, path, archive, seconds)

    def reset_course(self, name: str, machines: Sequence[CourseMachine], told: Told) -> None:
        """By removing their pods, which their Deployments make again."""
        from multios_orchestrator_kubernetes import resetting

        resetting.machines(self.cluster(), name, machines, self.settings, told)

    @cached_property
    def _shared_cluster(self) -> Cluster:
        """One for many copies: a login for each might run the kubeconfig's own plugin as often."""
        return self.cluster()

    def _course_plan(self, cluster: Cluster, course: Course) -> Iterator[CourseAction]:
        from multios_orchestrator_kubernetes import course as planning
        from multios_orchestrator_kubernetes import course_apply

        planning.check(course)
        found, foreign = course_apply.existing(cluster, course)
        return planning.plan(course, found, self.settings, cluster.version(), foreign=foreign)

    def cluster(self, options: ApplyOptions | None = None) -> Cluster:
        """A connection, with the kubeconfig as it is now; the rate of ``options`` goes before the settings'."""
        from multios.pace import Pace
        from multios_orchestrator_kubernetes.cluster import Cluster

        pace = self._pace
        if options is not None and options.rate:
            pace = Pace(options.rate, options.burst)
        return Cluster(self.settings.kubeconfig, self.settings.context, pace)

    @cached_property
    def _pace(self) -> Pace:
        """One for all connections: a driver serves one request of its user's, however many parts that has."""
        from multios.pace import Pace

        return Pace(self.settings.rate, self.settings.burst)

    def _namespace(self, cluster: Cluster, app: str) -> str:
        return str(self.settings.namespace or cluster.namespace or app)
