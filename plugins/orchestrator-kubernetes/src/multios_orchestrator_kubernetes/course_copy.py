"""Copies out of a student's pod and into it: a command of the student's own machine, bounded in bytes and in time."""

from __future__ import annotations

import os
import time

from multios.drivers.orchestrator import CopyBounds, Place
from multios.errors import InvalidInput, Unavailable
from multios.model.course import COURSE_LABEL, CourseMachine
from multios_orchestrator_kubernetes import names, places
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.course import ENVIRONMENT, ROLE_LABEL
from multios_orchestrator_kubernetes.inside import Inside
from multios_orchestrator_kubernetes.kinds import POD


def out(
    cluster: Cluster, course: str, machine: CourseMachine, path: str, archive: int, bounds: CopyBounds
) -> None:
    """What is at ``path`` as a tar. See :meth:`OrchestratorDriver.copy_out_of_course`."""
    pod = _running(cluster, course, machine.name)
    end = time.monotonic() + bounds.seconds

    def check() -> None:
        if os.fstat(archive).st_size > bounds.most:
            raise InvalidInput(
                f"{path} of {machine.name} is larger than {bounds.most >> 20} MB",
                "let the student hand in less",
            )
        if time.monotonic() >= end:
            raise Unavailable(
                f"{path} of {machine.name} was not copied within {bounds.seconds:g} s",
                "see whether anything writes there, and try again",
            )

    Inside(cluster, machine.name, pod, Place(ENVIRONMENT), check).copy_out(path, archive)
    check()


def into(
    cluster: Cluster, course: str, machine: CourseMachine, path: str, archive: int, seconds: float
) -> None:
    """Unpack a tar at ``path``. See :meth:`OrchestratorDriver.copy_into_course`."""
    pod = _running(cluster, course, machine.name)
    end = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() >= end:
            raise Unavailable(
                f"{path} of {machine.name} was not written within {seconds:g} s",
                "see whether its tar still works, and try again",
            )

    Inside(cluster, machine.name, pod, Place(ENVIRONMENT), check).copy_in(path, archive)


def _running(cluster: Cluster, course: str, namespace: str) -> str:
    selector = f"{COURSE_LABEL}={names.label_value('name', course)},{ROLE_LABEL}={ENVIRONMENT}"
    pods = list(cluster.each(POD, namespace, selector))
    for pod in pods:
        if places.phase(pod) == "Running" and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["metadata"]["name"])
    reason = f"its pod is {places.phase(pods[0]).lower()}" if pods else "it has no pod"
    raise Unavailable(f"{namespace} does not run: {reason}", f"kubectl --namespace {namespace} describe pods")
