"""Orchestrators: several containers as one app. ``plan`` is pure and can be shown before it is done."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from multios.drivers.base import Driver
from multios.errors import Unsupported
from multios.model.app import App, AppState
from multios.model.course import Course, CourseMachine

VERBS = ("create", "recreate", "start", "restart", "remove", "keep")


@dataclass(frozen=True, slots=True)
class Action:
    """One step of a plan: ``verb`` (of :data:`VERBS`) is done to the ``kind`` (``container``, ``network``, …) ``subject``, and why.

    ``service`` is empty for what belongs to none. ``changed`` are the fields for which it is done.
    """

    verb: str
    kind: str
    subject: str
    reason: str
    service: str = ""
    number: int = 0
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """``services``: only these and what they depend on (empty: all). ``scale``: other numbers of replicas."""

    services: tuple[str, ...] = ()
    scale: Mapping[str, int] = field(default_factory=dict)
    force_recreate: bool = False
    no_recreate: bool = False
    no_dependencies: bool = False
    remove_orphans: bool = False
    start: bool = True


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How it is done. ``rate`` is how many actions begin a second (0: no limit), ``burst`` how many may at once.

    ``stop_timeout`` in seconds is for containers that are replaced or removed (``None``: each one's own). ``wait`` seconds for
    every service to run, or be healthy where it has a probe (0: do not). Without ``start`` containers are only made.
    """

    start: bool = True
    rate: float = 0.0
    burst: int = 10
    stop_timeout: int | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class DestroyOptions:
    """``volumes``: the app's volumes as well, with what is in them."""

    volumes: bool = False
    stop_timeout: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One container of an app: the ``number``-th of a service, the first that runs for 0."""

    service: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class CopyBounds:
    """How much a student's machine may give: bytes, and seconds from beginning to end."""

    most: int
    seconds: float


Told = Callable[[Action, str], None]
"""Is told of each action: ``begun``, ``done``, or why it ``failed``. What it raises ends the apply between two actions."""


class OrchestratorDriver(Driver):
    """Contract. A driver is made for each request; ``context.engine`` is the engine with the rights of who asks.

    Everything that it makes carries the app's name as a label, :data:`multios.app_labels.APP_LABEL`, so that it is found
    again without any memory of its own.
    """

    kind: ClassVar[str] = "orchestrator"
    needs_engine: ClassVar[bool] = True
    """Whether it works through ``context.engine``, in the daemon. Else it is made in the client, with its user's files."""

    @abstractmethod
    def existing(self, app: App) -> AppState:
        """What there is of ``app``, of which only the name need be known. Changes nothing."""

    @abstractmethod
    def plan(self, app: App, existing: AppState, options: PlanOptions) -> tuple[Action, ...]:
        """What :meth:`apply` would do, what is kept included, in an order in which it can be done.

        Pure: the same arguments, the same plan. Raises ``InvalidInput`` for a service that is not there, ``Conflict``
        where something that is not the app's stands in the way.
        """

    @abstractmethod
    def apply(self, app: App, plan: Sequence[Action], told: Told, options: ApplyOptions) -> None:
        """Do it, side by side what does not depend on each other.

        Idempotent: ended at any moment, a plan that is made anew goes on. What fails leaves what it replaced as it was,
        and is raised when all that does not depend on it is done.
        """

    @abstractmethod
    def watch(self, app: str) -> Iterator[Mapping[str, Any]]:
        """The app's events from now on, as ``multios_event`` describes them: one stream, however many containers."""

    @abstractmethod
    def destroy(self, app: str, told: Told, options: DestroyOptions) -> None:
        """Remove everything that carries the app's label, dependents first; then nothing is left. Absent: no error."""

    # --- what only some can: since 0.1, see the capabilities ------------------------------------------

    def snapshot(self, app: str, name: str, told: Told) -> None:
        """Keep the state of every container's files under ``name``. Capability SNAPSHOT."""
        raise self._cannot("keep states")

    def reset(self, app: str, to: str, told: Told) -> None:
        """Every container back to the state ``to``, or its beginning without; what ran runs again. Capability RESET.

        Volumes stay as they are. Dependents end first where one that waits for another is not begun anew by itself. ``to``
        needs the capability SNAPSHOT.
        """
        raise self._cannot("put apps back")

    def execute(
        self,
        app: str,
        place: Place,
        command: Sequence[str],
        streams: tuple[int, int, int],
        terminal: bool = False,
    ) -> int:
        """Run a command in a container with these descriptors as stdin, stdout and stderr; its exit status. Capability EXEC.

        With ``terminal`` it has one inside, of the size of that which stdout is.
        """
        raise self._cannot("run commands inside")

    def logs(
        self, app: str, services: Sequence[str], follow: bool, tail: int | None
    ) -> Iterator[tuple[Place, bytes]]:
        """Lines that the containers have written, and with ``follow`` write, each with whose it is. Capability LOGS."""
        raise self._cannot("show logs")

    def copy_in(self, app: str, place: Place, path: str, archive: int) -> None:
        """Unpack the tar that the descriptor gives into the directory ``path``. Capability COPY."""
        raise self._cannot("copy files")

    def copy_out(self, app: str, place: Place, path: str, archive: int) -> None:
        """Write what is at ``path`` to the descriptor as a tar. Capability COPY."""
        raise self._cannot("copy files")

    def forward(self, app: str, place: Place, port: int, host_port: int) -> AbstractContextManager[int]:
        """While the context lasts, 127.0.0.1:``host_port`` (0: any, which is given back) leads to ``port`` inside. Capability FORWARD."""
        raise self._cannot("forward ports")

    def plan_course(self, course: Course) -> Iterator[Action]:
        """What :meth:`apply_course` would do, what is kept included: the course's own first, then student by student. Capability COURSES.

        ``service`` is the student, empty for what is nobody's. ``number`` is 1 for the machine itself: ``recreate`` ends one
        that runs, ``start`` is for one that was stopped. Changes nothing.
        Raises ``InvalidInput`` for a course that cannot be, ``Conflict`` where what is not the course's stands in the way.
        """
        raise self._cannot_courses()

    def apply_course(self, course: Course, told: Told, options: ApplyOptions) -> None:
        """Do it, ``course.at_once`` students at a time, each told of once, as ``keep`` where nothing is to do. Capability COURSES.

        Idempotent: ended at any moment, another one goes on. One student's failure is not another's: it is told, and
        ``StepFailed`` is raised when all others are done. Of ``options`` only ``rate`` and ``burst`` mean something.
        """
        raise self._cannot_courses()

    def course_state(self, name: str) -> Iterator[CourseMachine]:
        """The machines of all parts of the course ``name``, whether or not a roster names the students. Capability COURSES."""
        raise self._cannot_courses()

    def stop_course(self, name: str, told: Told) -> None:
        """No machine of the course runs, nothing of it is removed; :meth:`apply_course` starts them. Capability COURSES."""
        raise self._cannot_courses()

    def destroy_course(self, name: str, told: Told) -> None:
        """Remove all that has the course's label, all parts, with what students made, and look again. Absent: no error.

        Raises ``Unavailable`` that names what is left. Capability COURSES.
        """
        raise self._cannot_courses()

    def copy_out_of_course(
        self, name: str, machine: CourseMachine, path: str, archive: int, bounds: CopyBounds
    ) -> None:
        """Write what is at ``path`` of a machine that runs to a plain file, as a tar of one tree. Capability COURSES.

        For several threads at once. Raises ``NotFound`` where nothing is there, ``InvalidInput`` for more bytes than the
        bounds have, ``Unavailable`` when the machine does not run, the time is over or the connection is lost. The tar is a
        student's, and as such nothing that may be believed.
        """
        raise self._cannot_courses()

    def copy_into_course(
        self, name: str, machine: CourseMachine, path: str, archive: int, seconds: float
    ) -> None:
        """Unpack the tar that a plain file has into the directory ``path`` of a machine that runs. Capability COURSES.

        It is unpacked with the student's rights, entry by entry in its order. For several threads at once. Raises ``NotFound``
        where there is no such directory, ``Unavailable`` when the machine does not run, ``seconds`` are over or the connection
        is lost: some of it may be there then.
        """
        raise self._cannot_courses()

    def reset_course(self, name: str, machines: Sequence[CourseMachine], told: Told) -> None:
        """Each of these machines begins anew and runs then; homes that stay are kept. Capability COURSES.

        One machine's failure is told, and ``StepFailed`` is raised when the others are done.
        """
        raise self._cannot_courses()

    def _cannot_courses(self) -> Unsupported:
        return self._cannot("run courses")

    def _cannot(self, what: str) -> Unsupported:
        return Unsupported(f"the orchestrator {self.name!r} cannot {what}", "use another one")
