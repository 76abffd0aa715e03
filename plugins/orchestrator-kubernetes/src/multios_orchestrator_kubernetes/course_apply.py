"""A course is put on a cluster and taken off it: an admission queue in front, lists until nothing is left at the end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from multios.drivers.orchestrator import Action, Told
from multios.errors import MultiosError, StepFailed, Unavailable
from multios.model.app import HEALTHY
from multios.model.course import COURSE_LABEL, Course
from multios_orchestrator_kubernetes import names, readiness, removal
from multios_orchestrator_kubernetes.apply import BEGUN, DONE
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.course import KIND_LABEL, KINDS, CourseAction, FoundKey
from multios_orchestrator_kubernetes.kinds import BY_NAME, DAEMON_SET, DEPLOYMENT, NAMESPACE, PRIORITY_CLASS
from multios_orchestrator_kubernetes.settings import KubernetesSettings

_AWAITED = (DEPLOYMENT.name, DAEMON_SET.name)


def existing(cluster: Cluster, course: Course) -> tuple[dict[FoundKey, str], frozenset[str]]:
    """What there is of the course's part in all namespaces, with fingerprints; and the namespaces that are not its own.

    Metadata only, page by page.
    """
    own = {COURSE_LABEL: course.name, KIND_LABEL: course.part}
    selector = ",".join(f"{key}={value}" for key, value in own.items())
    found: dict[FoundKey, str] = {}
    foreign = []
    for kind in KINDS:
        for item in cluster.each(kind, "", "" if kind is NAMESPACE else selector, metadata_only=True):
            metadata = item["metadata"]
            if own.items() - (metadata.get("labels") or {}).items():
                foreign.append(metadata["name"])
            elif "deletionTimestamp" not in metadata:
                key = (kind.name, metadata.get("namespace", ""), metadata["name"])
                found[key] = (metadata.get("annotations") or {}).get(names.FINGERPRINT_ANNOTATION, "")
    return found, frozenset(foreign)


@dataclass(slots=True)
class Admission:
    """Lets students in: at most ``course.at_once`` are between their first object and a running environment."""

    cluster: Cluster
    course: Course
    settings: KubernetesSettings
    told: Told
    failed: dict[str, MultiosError] = field(default_factory=dict)
    """By namespace."""
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, plan: Iterable[CourseAction]) -> None:
        """All of ``plan``, which is read as places get free, each student told of. One's failure is not another's.

        Raises ``StepFailed`` with how many namespaces failed and the first reason; what was let in stays.
        """
        running: dict[Future[None], list[CourseAction]] = {}
        with ThreadPoolExecutor(self.course.at_once) as pool:
            try:
                for namespace, group in itertools.groupby(plan, key=lambda action: action.namespace):
                    every = list(group)
                    actions = [action for action in every if action.verb != "keep"]
                    if not actions:
                        self.told(_of(every), DONE)
                        continue
                    self.told(_of(actions), BEGUN)
                    running[pool.submit(self._admit, namespace, actions)] = actions
                    if len(running) >= self.course.at_once or namespace == self.course.common:
                        self._collect(running)
                while running:
                    self._collect(running)
            except BaseException:  # an interrupt, or enough for who is told: nobody waits for pods any more
                self.ended.set()
                raise
        if self.failed:
            namespace, error = next(iter(self.failed.items()))
            count = f"{len(self.failed)} of {len(self.course.students) + 1} namespaces failed"
            raise StepFailed(
                f"course {self.course.name}", f"{count}; {namespace}: {error.cause}", error.remedy
            )

    def _admit(self, namespace: str, actions: list[CourseAction]) -> None:
        for action in actions:
            if action.verb == "remove":
                self.cluster.delete(BY_NAME[action.kind], "", action.subject)
            else:
                self.cluster.apply(
                    action.manifest, self.settings.field_manager, self.settings.force_conflicts
                )
        for action in actions:
            if action.kind in _AWAITED and action.verb != "remove":
                kind = BY_NAME[action.kind]
                readiness.wait(
                    self.cluster, kind, namespace, action.subject, HEALTHY, self.settings.timeout, self._sleep
                )

    def _sleep(self, seconds: float) -> None:
        if self.ended.wait(seconds):
            raise Unavailable("it was interrupted", "start the course again")

    def _collect(self, running: dict[Future[None], list[CourseAction]]) -> None:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            actions = running.pop(future)
            try:
                future.result()
            except MultiosError as error:
                self.failed[actions[0].namespace] = error
                self.told(_of(actions), error.cause)
            else:
                self.told(_of(actions), DONE)


def destroy(cluster: Cluster, name: str, settings: KubernetesSettings, told: Told) -> None:
    """Remove the course with all that students made, and look again until nothing is left.

    Raises ``Unavailable`` that names what is left after the time of the settings.
    """
    selector = f"{COURSE_LABEL}={names.label_value('name', name)}"
    for kind in (NAMESPACE, PRIORITY_CLASS):
        for item in list(cluster.each(kind, "", selector, metadata_only=True)):
            action = Action("remove", kind.name, item["metadata"]["name"], "the course is destroyed")
            told(action, BEGUN)
            cluster.delete(kind, "", action.subject)
            told(action, DONE)
    removal.wait_until_gone(
        lambda: removal.left(cluster, (NAMESPACE, PRIORITY_CLASS), "", selector), settings.timeout
    )
    removal.wait_until_gone(lambda: removal.left(cluster, KINDS, "", selector), settings.timeout)


def _of(actions: list[CourseAction]) -> Action:
    """One student's actions as one, because nobody reads sixty thousand lines."""
    first = actions[0]
    return Action(first.verb, NAMESPACE.name, first.namespace, first.reason, first.service)
