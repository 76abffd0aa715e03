"""What a cluster does with objects: keeps them with versions, applies, counts quotas, runs workloads, collects what nobody owns."""

from __future__ import annotations

import copy
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import kubernetes_fields
import kubernetes_schema

Object = dict[str, Any]
Place = tuple[str, str, str]
"""Plural, namespace, name."""
KINDS = {
    "namespaces": ("Namespace", "v1"),
    "configmaps": ("ConfigMap", "v1"),
    "secrets": ("Secret", "v1"),
    "services": ("Service", "v1"),
    "pods": ("Pod", "v1"),
    "persistentvolumeclaims": ("PersistentVolumeClaim", "v1"),
    "resourcequotas": ("ResourceQuota", "v1"),
    "limitranges": ("LimitRange", "v1"),
    "deployments": ("Deployment", "apps/v1"),
    "replicasets": ("ReplicaSet", "apps/v1"),
    "daemonsets": ("DaemonSet", "apps/v1"),
    "jobs": ("Job", "batch/v1"),
    "networkpolicies": ("NetworkPolicy", "networking.k8s.io/v1"),
    "priorityclasses": ("PriorityClass", "scheduling.k8s.io/v1"),
}
CLUSTER_WIDE = ("namespaces", "priorityclasses")
PLURALS = {kind: plural for plural, (kind, _) in KINDS.items()}
_FIXED = {"Job": ("template", "completions"), "PersistentVolumeClaim": ("accessModes", "storageClassName")}


class Answer(Exception):
    """An answer that is no success, as the API's ``Status``."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message, "details": details,
        }  # fmt: skip


@dataclass
class Behaviour:
    """What the nodes do. Images by a part of their name; seconds from a workload to its running pods."""

    broken_images: set[str] = field(default_factory=set)
    failing_images: set[str] = field(default_factory=set)
    start_seconds: float = 0.0
    removal_seconds: float = 0.0


class Store:
    """The objects of a cluster. ``changed`` is notified with every new version; ``history`` is what watches are told."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.objects: dict[Place, Object] = {}
        self.managers: dict[Place, dict[str, set[kubernetes_fields.Path]]] = {}
        self.history: list[tuple[int, str, str, Object]] = []
        self.oldest = 0
        self.behaviour = Behaviour()
        self.sent: list[Object] = []
        self._versions = itertools.count(100)
        self.version = 100
        self._namespace("default")

    # --- changes ------------------------------------------------------------------------------------

    def apply(
        self, plural: str, namespace: str, asked: Object, manager: str, force: bool
    ) -> tuple[Object, bool]:
        """Server-side apply; the object, and whether it is new."""
        with self.lock:
            self.sent.append(copy.deepcopy(asked))
            if found := kubernetes_schema.problems(asked):
                raise Answer(422, "Invalid", f"{asked['kind']} is invalid: {'; '.join(found)}")
            place = (plural, namespace, asked["metadata"]["name"])
            live = self.objects.get(place)
            managers = self.managers.setdefault(place, {})
            fields = kubernetes_fields.owned(asked)
            if live is None:
                self._check_new(place)
                made = self._new(place, asked)
            else:
                self._check_conflicts(live, fields, managers, manager, force)
                made = kubernetes_fields.merge(live, asked)
                for path in managers.get(manager, set()) - fields.keys():
                    if not any(path in own for other, own in managers.items() if other != manager):
                        kubernetes_fields.remove(made, path)
                self._check_fixed(live, made)
            for own in managers.values():
                own -= fields.keys() if force else set()
            managers[manager] = set(fields)
            made["metadata"]["managedFields"] = [
                {"manager": name, "operation": "Apply", "apiVersion": asked["apiVersion"]}
                for name in managers
            ]
            is_same = live is not None and _without_version(live) == _without_version(made)
            if not is_same:
                if live is not None and live.get("spec") != made.get("spec"):
                    made["metadata"]["generation"] = live["metadata"].get("generation", 1) + 1
                self.put(place, made)
                self._after(self.behaviour.start_seconds, lambda: self._run(place))
            return self.objects[place], live is None

    def edit(
        self, kind: str, namespace: str, name: str, patch: Object, manager: str = "kubectl-edit"
    ) -> None:
        """What somebody else does: the fields are his from now on."""
        with self.lock:
            place = (PLURALS[kind], namespace, name)
            self.put(place, kubernetes_fields.merge(self.objects[place], patch))
            self.managers.setdefault(place, {}).setdefault(manager, set()).update(
                kubernetes_fields.owned(patch)
            )

    def add(self, manifest: Object) -> None:
        """What somebody else made."""
        metadata = manifest["metadata"]
        place = (PLURALS[manifest["kind"]], metadata.get("namespace", ""), metadata["name"])
        with self.lock:
            self.put(place, self._new(place, manifest))

    def delete(self, place: Place) -> Object:
        """Ask for its removal: with finalizers, and namespaces with what is in them, it takes its time."""
        with self.lock:
            live = self.objects.get(place)
            if live is None:
                raise Answer(404, "NotFound", f'{place[0]} "{place[2]}" not found')
            is_slow = place[0] == "namespaces" or live["metadata"].get("finalizers")
            if not is_slow and not self.behaviour.removal_seconds:
                self._drop(place)
                return live
            marked = copy.deepcopy(live)
            marked["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self.put(place, marked)
            self._after(self.behaviour.removal_seconds, lambda: self._finish(place))
            return marked

    def release(self, place: Place) -> None:
        """Take its finalizers away; it goes if that is all that held it."""
        with self.lock:
            freed = copy.deepcopy(self.objects[place])
            freed["metadata"].pop("finalizers", None)
            self.put(place, freed)
            if "deletionTimestamp" in freed["metadata"]:
                self._finish(place)

    def put(self, place: Place, item: Object) -> None:
        """The object as it is from now on, with the next version."""
        kind = "MODIFIED" if place in self.objects else "ADDED"
        self.version = next(self._versions)
        item = copy.deepcopy(item)
        item["metadata"]["resourceVersion"] = str(self.version)
        self.objects[place] = item
        self.history.append((self.version, kind, place[0], item))
        self.changed.notify_all()

    # --- reading ------------------------------------------------------------------------------------

    def select(self, plural: str, namespace: str, selector: str) -> list[Object]:
        """Those in the namespace, or in all, with the labels, in the order of their names."""
        with self.lock:
            return [
                item
                for (kind, where, _), item in sorted(self.objects.items())
                if kind == plural and namespace in ("", where) and matches(item, selector)
            ]

    def named(self, kind: str) -> dict[str, Object]:
        """All of a kind by name, for tests."""
        return {item["metadata"]["name"]: item for item in self.select(PLURALS[kind], "", "")}

    # --- inside -------------------------------------------------------------------------------------

    def _namespace(self, name: str) -> None:
        self.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        root = {"name": "kube-root-ca.crt", "namespace": name}
        self.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": root, "data": {"ca.crt": ""}})

    def _new(self, place: Place, asked: Object) -> Object:
        made = copy.deepcopy(asked)
        made["metadata"].update(uid=str(uuid.uuid4()), generation=1, creationTimestamp="2026-01-01T00:00:00Z")
        if place[1]:
            made["metadata"]["namespace"] = place[1]
        return made

    def _check_new(self, place: Place) -> None:
        plural, namespace, name = place
        if not namespace:
            return
        home = self.objects.get(("namespaces", "", namespace))
        if home is None:
            raise Answer(404, "NotFound", f'namespaces "{namespace}" not found')
        if "deletionTimestamp" in home["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise Answer(403, "Forbidden", f'{plural} "{name}" is forbidden: {why}')
        if refused := self._over_quota(plural, namespace, name):
            raise Answer(403, "Forbidden", refused)

    def _over_quota(self, plural: str, namespace: str, name: str) -> str:
        for quota in self.select("resourcequotas", namespace, ""):
            for resource in (plural, f"count/{plural}", f"count/{plural}.apps"):
                limit = (quota["spec"].get("hard") or {}).get(resource)
                used = len(self.select(plural, namespace, ""))
                if limit is not None and used >= int(limit):
                    return (
                        f'{plural} "{name}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, requested: '
                        f"{resource}=1, used: {resource}={used}, limited: {resource}={limit}"
                    )
        return ""

    def _check_conflicts(
        self, live: Object, fields: dict[Any, Any], managers: dict[str, set[Any]], manager: str, force: bool
    ) -> None:
        found = kubernetes_fields.conflicts(live, fields, managers, manager)
        if found and not force:
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{other}"',
                    "field": "." + ".".join(path),
                }
                for other, path in found
            ]
            raise Answer(409, "Conflict", f"Apply failed with {len(found)} conflicts", causes=causes)

    def _check_fixed(self, live: Object, made: Object) -> None:
        for name in _FIXED.get(live["kind"], ()):
            if live["spec"].get(name) != made["spec"].get(name):
                raise Answer(422, "Invalid", f"spec.{name}: Invalid value: field is immutable")

    def _drop(self, place: Place) -> None:
        gone = self.objects.pop(place, None)
        self.managers.pop(place, None)
        if gone is None:
            return
        self.version = next(self._versions)
        gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        self.history.append((self.version, "DELETED", place[0], gone))
        self.changed.notify_all()
        if place[0] == "pods":
            self._after(self.behaviour.start_seconds, lambda: self._replace_pod(gone))
        for other, item in list(self.objects.items()):
            owners = item["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners):
                self._drop(other)

    def _finish(self, place: Place) -> None:
        with self.lock:
            live = self.objects.get(place)
            if live is None or live["metadata"].get("finalizers"):
                return
            if place[0] == "namespaces":
                inside = [other for other in self.objects if other[1] == place[2]]
                held = [other for other in inside if self.objects[other]["metadata"].get("finalizers")]
                for other in inside:
                    if other not in held:
                        self._drop(other)
                if held:
                    return
            self._drop(place)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        if not seconds:
            action()
            return
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()

    # --- what controllers and nodes do --------------------------------------------------------------

    def _run(self, place: Place) -> None:
        with self.lock:
            live = self.objects.get(place)
            if live is not None and place[0] == "deployments":
                self._run_deployment(place, live)
            elif live is not None and place[0] == "daemonsets":
                seen = {"observedGeneration": live["metadata"]["generation"]}
                self.put(place, {**live, "status": {**seen, "numberReady": 2, "desiredNumberScheduled": 2}})
            elif live is not None and place[0] == "jobs":
                self._run_job(place, live)

    def _run_deployment(self, place: Place, live: Object) -> None:
        for other, item in list(self.objects.items()):
            owners = item["metadata"].get("ownerReferences") or ()
            if other[0] == "replicasets" and owners and owners[0]["uid"] == live["metadata"]["uid"]:
                self._drop(other)
        spec = live["spec"]
        wanted = spec.get("replicas", 1)
        replica_set = ("replicasets", place[1], f"{place[2]}-{live['metadata']['generation']}")
        self._make_owned(
            replica_set, live, {"spec": {"replicas": wanted, "selector": spec["selector"]}}, live
        )
        ready, refused = 0, ""
        for number in range(wanted):
            pod = ("pods", place[1], f"{replica_set[2]}-{number}")
            refused = refused or self._over_quota("pods", place[1], pod[2])
            if not refused:
                ready += self._start_pod(pod, self.objects[replica_set], spec["template"])
        status: Object = {
            "observedGeneration": live["metadata"]["generation"], "replicas": wanted, "updatedReplicas": wanted,
            "readyReplicas": ready, "availableReplicas": ready,
        }  # fmt: skip
        if refused:
            status["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": refused}]
        self.put(place, {**live, "status": status})

    def _replace_pod(self, gone: Object) -> None:
        """Another one, where what made it is still there."""
        with self.lock:
            home = self.objects.get(("namespaces", "", gone["metadata"].get("namespace", "")))
            owners = gone["metadata"].get("ownerReferences") or ()
            for place, owner in list(self.objects.items()):
                if place[0] != "replicasets" or owner["metadata"]["uid"] not in [
                    item["uid"] for item in owners
                ]:
                    continue
                if home is None or "deletionTimestamp" in home["metadata"]:
                    return
                name = f"{place[2]}-{next(self._versions)}"
                template = {"metadata": {"labels": gone["metadata"]["labels"]}, "spec": gone["spec"]}
                self._start_pod(("pods", place[1], name), owner, template)

    def _run_job(self, place: Place, live: Object) -> None:
        spec = live["spec"]
        if spec.get("suspend"):
            return
        image = spec["template"]["spec"]["containers"][0]["image"]
        self._start_pod(("pods", place[1], f"{place[2]}-0"), live, spec["template"], "Succeeded")
        if any(part in image for part in self.behaviour.failing_images):
            failed = {
                "type": "Failed",
                "status": "True",
                "message": "Job has reached the specified backoff limit",
            }
            status: Object = {"failed": 1, "conditions": [failed]}
        else:
            status = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
        self.put(place, {**live, "status": status})

    def _start_pod(self, place: Place, owner: Object, template: Object, phase: str = "Running") -> int:
        image = template["spec"]["containers"][0]["image"]
        status: Object = {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}
        status["containerStatuses"] = [{"name": "c", "imageID": f"{image}@sha256:{'0' * 64}"}]
        is_broken = any(part in image for part in self.behaviour.broken_images)
        if is_broken:
            waiting = {"reason": "ErrImagePull", "message": f"cannot pull {image}"}
            status = {"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": waiting}}]}
        self._make_owned(place, owner, {"spec": template["spec"], "status": status}, template)
        return 0 if is_broken else 1

    def _make_owned(self, place: Place, owner: Object, fields: Object, labels_of: Object) -> None:
        kind, version = KINDS[place[0]]
        reference = {
            "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "controller": True,
        }  # fmt: skip
        labels = (labels_of.get("metadata") or {}).get("labels") or {}
        metadata = {"name": place[2], "labels": labels, "ownerReferences": [reference]}
        made = self._new(place, {"apiVersion": version, "kind": kind, "metadata": metadata, **fields})
        self.put(place, made)


def matches(item: Object, selector: str) -> bool:
    """Whether its labels are as the selector says: ``a=b``, ``a!=b`` or ``a``, all of them."""
    labels = item["metadata"].get("labels") or {}

    def one(part: str) -> bool:
        key, sign, value = part.partition("!=") if "!=" in part else part.partition("=")
        if not sign:
            return key in labels
        return labels.get(key) != value if sign == "!=" else labels.get(key) == value

    return all(one(part) for part in _parts(selector))


def _parts(selector: str) -> Iterator[str]:
    yield from (part for part in selector.split(",") if part)


def _without_version(item: Object) -> Object:
    metadata = {
        key: value
        for key, value in item["metadata"].items()
        if key not in ("resourceVersion", "managedFields")
    }
    return {**item, "metadata": metadata}
