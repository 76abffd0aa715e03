"""A course on a cluster: a namespace of his own for each student, with bounds that he cannot lift. Pure.

Ten thousand students are planned one after the other, so that the plan is never in memory as a whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multios.errors import Conflict, InvalidInput
from multios.model.course import COURSE_LABEL, HOME, IDLE, STUDENT_LABEL, Course, CourseQuota
from multios_orchestrator_kubernetes import names, pods
from multios_orchestrator_kubernetes.kinds import (
    DAEMON_SET,
    DEPLOYMENT,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    PRIORITY_CLASS,
    QUOTA,
    VOLUME_CLAIM,
    Kind,
    Manifest,
)
from multios_orchestrator_kubernetes.plan import ClusterAction
from multios_orchestrator_kubernetes.settings import KubernetesSettings

KIND_LABEL = "org.multios.course.template"
"""On all objects: which of the course's kinds of machines, its ``part``."""
ROLE_LABEL = "org.multios.course.part"
"""On pods: :data:`ENVIRONMENT`, or what keeps images and places ready."""
ENVIRONMENT = "environment"
"""The Deployment of a student."""
KINDS = (NAMESPACE, PRIORITY_CLASS, QUOTA, LIMIT_RANGE, NETWORK_POLICY, VOLUME_CLAIM, DEPLOYMENT, DAEMON_SET)
"""What a course is made of."""
MOST_STUDENTS = 100_000
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_NOT_OUTSIDE = {
    "0.0.0.0/0": ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"],
    "::/0": ["fc00::/7", "fe80::/10"],
}
"""Private and link-local addresses: pods, services and the API of the cluster, and its cloud's credentials."""
_DNS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]

STOPPED = "stopped"
"""The fingerprint of a Deployment without replicas."""
_WHY = {None: ("create", "there is none"), STOPPED: ("start", "it was stopped")}

FoundKey = tuple[str, str, str]
"""Kind, namespace and name."""


class CourseAction(ClusterAction):
    """An action on an object in ``namespace``."""

    __slots__ = ("namespace",)
    namespace: str

    def __init__(self, *fields: str, namespace: str, manifest: Manifest | None = None, **more: Any) -> None:
        super().__init__(*fields, manifest=manifest or {}, **more)
        object.__setattr__(self, "namespace", namespace)


@dataclass(frozen=True, slots=True)
class _Object:
    """An object of every student's, or of the course's: all but its metadata."""

    kind: Kind
    name: str
    body: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        text = json.dumps([self.name, self.body, self.labels], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def check(course: Course) -> None:
    """``InvalidInput`` that names what of it no cluster takes."""
    names.namespace_name("name", course.common)
    if course.part:
        names.label_value("part", course.part)
    if not _DIGEST.fullmatch(course.image):
        raise InvalidInput(f"image: {course.image!r} has no digest", "name it as NAME@sha256:…")
    if course.profile == "restricted" and course.user == 0:
        raise InvalidInput("user: the profile 'restricted' has no root", "give a uid, or profile baseline")
    if course.network == "none" and course.egress:
        raise InvalidInput("egress: the network 'none' reaches nothing", "leave it out, or choose 'isolated'")
    if course.at_once < 1 or course.warm < 0 or course.quota.pods < 1:
        raise InvalidInput("at_once, warm or quota.pods is too small", "at least 1, 0 and 1")
    if not 0 < len(course.students) <= MOST_STUDENTS:
        raise InvalidInput(f"students: {len(course.students)}", f"give 1 to {MOST_STUDENTS}")
    seen: set[str] = set()
    for student in course.students:
        names.namespace_name("students", course.machine(student))
        if course.machine(student) == course.common:
            raise InvalidInput(
                f"students: {course.common!r} is where the course's own is", "rename the course"
            )
        if student in seen:
            raise InvalidInput(f"students: {student!r} is named twice", "name each once")
        seen.add(student)


def plan(
    course: Course,
    found: Mapping[FoundKey, str],
    settings: KubernetesSettings,
    version: tuple[int, int] = (0, 0),
    remove_gone: bool = False,
    foreign: Container[str] = (),
) -> Iterator[CourseAction]:
    """What has to be done, the course's own first, then student by student.

    ``found`` maps what there is to its fingerprint. ``foreign`` are namespaces that are not the course's: to have one of
    their names is a ``Conflict``, because what is put there would go with the course. Namespaces of students who are not
    named any more are kept, with what they made, unless ``remove_gone``.
    """
    check(course)
    own, of_each = _of_course(course, settings, version), _of_student(course, settings, version)
    for namespace in (course.common, *map(course.machine, course.students)):
        if namespace in foreign:
            raise Conflict(
                f"there is a namespace {namespace!r} that is not of the course {course.name!r}",
                "remove it, or call the course something else",
            )
    yield from _steps(course, own, found, course.common, "")
    for student in course.students:
        yield from _steps(course, of_each, found, course.machine(student), student)
    known = {course.common, *map(course.machine, course.students)}
    for kind, _, name in found:
        if kind == NAMESPACE.name and name not in known:
            verb, reason = (
                ("remove", "he left") if remove_gone else ("keep", "he left: remove_gone removes it")
            )
            yield CourseAction(verb, kind, name, reason, namespace=name)


def _steps(
    course: Course, objects: Sequence[_Object], found: Mapping[FoundKey, str], namespace: str, student: str
) -> Iterator[CourseAction]:
    for item in objects:
        is_inside = item.kind.is_namespaced
        name = item.name or namespace
        before = found.get((item.kind.name, namespace if is_inside else "", name))
        digest = item.digest
        place: dict[str, Any] = {
            "namespace": namespace,
            "service": student,
            "number": int(item.kind is DEPLOYMENT and student != ""),
        }
        if before == digest:
            yield CourseAction("keep", item.kind.name, name, "it is as it should be", **place)
            continue
        verb, reason = _WHY.get(before, ("recreate", "changed"))
        manifest = _manifest(course, item, name, namespace if is_inside else "", student, digest)
        yield CourseAction(verb, item.kind.name, name, reason, manifest=manifest, **place)


def _manifest(
    course: Course, item: _Object, name: str, namespace: str, student: str, digest: str
) -> Manifest:
    labels = {**item.labels, names.MANAGED_BY: "multios", COURSE_LABEL: course.name, KIND_LABEL: course.part}
    if student:
        labels[STUDENT_LABEL] = student
    return {
        "apiVersion": item.kind.version,
        "kind": item.kind.name,
        "metadata": {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            "labels": labels,
            "annotations": {names.FINGERPRINT_ANNOTATION: digest},
        },
        **item.body,
    }


# --- what each has ------------------------------------------------------------------------------------


def _of_student(course: Course, settings: KubernetesSettings, version: tuple[int, int]) -> list[_Object]:
    quota = course.quota
    hard = {
        "pods": str(quota.pods),
        "limits.cpu": _cores(quota.cpu * quota.pods),
        "limits.memory": str(quota.memory * quota.pods),
        "requests.storage": str(quota.storage),
        "services.nodeports": "0",
        "services.loadbalancers": "0",
    }
    limits = {"type": "Container", "default": _limits(quota), "defaultRequest": _requests(quota)}
    objects = [
        _Object(NAMESPACE, "", labels=_admission(course)),
        _Object(QUOTA, "student", {"spec": {"hard": hard}}),
        _Object(LIMIT_RANGE, "student", {"spec": {"limits": [{**limits, "max": _limits(quota)}]}}),
        _Object(NETWORK_POLICY, "deny", {"spec": _reached(course)}),
    ]
    if quota.storage:
        claim: dict[str, Any] = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": str(quota.storage)}},
        }
        if settings.storage_class:
            claim["storageClassName"] = settings.storage_class
        objects.append(_Object(VOLUME_CLAIM, "home", {"spec": claim}))
    pod = _pod(course, settings, version, course.command, _limits(quota), _requests(quota))
    kept: dict[str, Any] = {"persistentVolumeClaim": {"claimName": "home"}}
    pod["volumes"] = [{"name": "home", **(kept if quota.storage else {"emptyDir": {}})}]
    pod["containers"][0] |= {
        "volumeMounts": [{"name": "home", "mountPath": HOME}],
        "env": [{"name": "HOME", "value": HOME}],
        "workingDir": HOME,
    }
    return [*objects, _Object(DEPLOYMENT, ENVIRONMENT, {"spec": _workload(course, ENVIRONMENT, pod, 1)})]


def _of_course(course: Course, settings: KubernetesSettings, version: tuple[int, int]) -> list[_Object]:
    objects = [
        _Object(NAMESPACE, "", labels=_admission(course)),
        _Object(NETWORK_POLICY, "deny", {"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}),
    ]
    small = {"cpu": "1m", "memory": str(16 << 20)}
    if course.prefetch:
        pod = _pod(course, settings, version, IDLE, {"memory": small["memory"]}, small)
        spec = _workload(course, "prefetch", pod)
        objects.append(_Object(DAEMON_SET, "prefetch", {"spec": spec}))
    if course.warm:
        yielding = f"{course.common}-warm"
        body = {"value": -10, "globalDefault": False, "description": f"places kept free for {course.name}"}
        objects.append(_Object(PRIORITY_CLASS, yielding, body))
        pod = _pod(course, settings, version, IDLE, _limits(course.quota), _requests(course.quota))
        pod |= {"priorityClassName": yielding, "terminationGracePeriodSeconds": 0}
        objects.append(_Object(DEPLOYMENT, "warm", {"spec": _workload(course, "warm", pod, course.warm)}))
    return objects


def _admission(course: Course) -> dict[str, str]:
    """The labels by which the API server itself refuses pods with more rights (Pod Security Admission)."""
    return {f"pod-security.kubernetes.io/{mode}": course.profile for mode in ("enforce", "warn")}


def _reached(course: Course) -> dict[str, Any]:
    """What comes in and goes out, by the course's network; nothing else does."""
    spec: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    out: list[dict[str, Any]] = []
    if course.network in ("shared", "open"):
        own = {"namespaceSelector": {"matchLabels": {COURSE_LABEL: course.name}}}
        spec["ingress"] = [{"from": [own]}]
        out.append({"to": [own]})
    if course.network == "open":
        blocks = [{"cidr": cidr, "except": private} for cidr, private in _NOT_OUTSIDE.items()]
        out.append({"to": [{"ipBlock": block} for block in blocks]})
    if course.egress:
        out.append({"to": [{"ipBlock": {"cidr": cidr}} for cidr in course.egress]})
    if course.network == "open" or course.egress:
        out.append({"to": [{"namespaceSelector": {}}], "ports": _DNS})
    return {**spec, "egress": out} if out else spec


def _workload(course: Course, part: str, pod: Manifest, replicas: int | None = None) -> dict[str, Any]:
    labels = {COURSE_LABEL: course.name, ROLE_LABEL: part}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        "revisionHistoryLimit": 1,
    }
    return spec if replicas is None else {"replicas": replicas, "strategy": {"type": "Recreate"}, **spec}


def _pod(
    course: Course,
    settings: KubernetesSettings,
    version: tuple[int, int],
    command: Sequence[str],
    limits: Mapping[str, str],
    requests: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsUser": course.user,
            "runAsGroup": course.user,
            "fsGroup": course.user,
            "runAsNonRoot": course.user != 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **pods.host_users(settings, version),
        **({"runtimeClassName": settings.runtime_class} if settings.runtime_class else {}),
        **(
            {"imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets]}
            if settings.image_pull_secrets
            else {}
        ),
        "containers": [
            {
                "name": ENVIRONMENT,
                "image": course.image,
                **(
                    {"command": [pods.literal(word) for word in command]}
                    if command
                    else {"stdin": True, "tty": True}  # its shell stays up
                ),
                "resources": {"limits": dict(limits), "requests": dict(requests)},
                "securityContext": {
                    "privileged": False,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }


def _limits(quota: CourseQuota) -> dict[str, str]:
    disk = {"ephemeral-storage": str(quota.storage)} if quota.storage else {}
    return {"cpu": _cores(quota.cpu), "memory": str(quota.memory), **disk}


def _requests(quota: CourseQuota) -> dict[str, str]:
    """What a node sets aside: a tenth of the cores and a quarter of the memory, because few students compute at a time."""
    disk = {"ephemeral-storage": str(1 << 20)} if quota.storage else {}  # unsaid it were the limit
    return {"cpu": _cores(quota.cpu / 10), "memory": str(quota.memory // 4), **disk}


def _cores(count: float) -> str:
    return f"{max(1, round(count * 1000))}m"
