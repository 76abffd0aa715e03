"""What has to be done: the objects that are wanted against those that there are, by their fingerprints. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from multios.drivers.orchestrator import Action, PlanOptions
from multios.errors import Conflict, unknown
from multios.model.app import App, changed_fields
from multios_orchestrator_kubernetes import names, render
from multios_orchestrator_kubernetes.kinds import DEPLOYMENT, JOB, NAMESPACE, VOLUME_CLAIM, Manifest
from multios_orchestrator_kubernetes.pods import Rendering, read_container
from multios_orchestrator_kubernetes.settings import KubernetesSettings
from multios_orchestrator_kubernetes.state import ClusterState, Found, Key
from multios_orchestrator_kubernetes.wanted import Wanted

_SHOWN = 6
_NUMBERS = {"spec.replicas", "spec.completions", "spec.parallelism"}
"""What changes when a service is scaled: no pod that there is is replaced for it."""


class ClusterAction(Action):
    """An action and the object that it is about, which is no field of it: it may be a Secret, and actions are shown.

    ``replaces``: what is there has to go first, because it cannot be changed. ``users`` are the services that need it,
    empty for all.
    """

    __slots__ = ("manifest", "replaces", "users")
    manifest: Manifest
    replaces: bool
    users: frozenset[str]

    def __init__(
        self,
        *fields: Any,
        manifest: Manifest,
        replaces: bool = False,
        users: frozenset[str] = frozenset(),
        **more: Any,
    ) -> None:
        super().__init__(*fields, **more)
        object.__setattr__(self, "manifest", manifest)
        object.__setattr__(self, "replaces", replaces)
        object.__setattr__(self, "users", users)


def make(
    app: App, state: ClusterState, options: PlanOptions, settings: KubernetesSettings
) -> tuple[Action, ...]:
    """The plan. Raises ``MultiosError`` where the app cannot be as it is asked for."""
    chosen = chosen_services(app, options)
    rendering = Rendering(app, settings, state.namespace, state.version)
    wanted = render.objects(rendering, state.namespace_is != "given", options.scale, options.start)
    _check_volumes(app, state)
    actions = [_step(item, state, options) for item in wanted if not item.users or item.users & chosen]
    return (*actions, *_rest(app, state, chosen, {item.key for item in wanted}, options))


def chosen_services(app: App, options: PlanOptions) -> frozenset[str]:
    """The services that are asked for and, unless told otherwise, what they depend on."""
    known = {service.name: service for service in app.services}
    for name in (*options.services, *options.scale):
        if name not in known:
            raise unknown("service", name, list(known))
    if not options.services:
        return frozenset(known)
    chosen: set[str] = set()
    following = list(options.services)
    while following:
        name = following.pop()
        if name in chosen or name not in known:
            continue
        chosen.add(name)
        if not options.no_dependencies:
            following += [item.service for item in known[name].depends_on]
    return frozenset(chosen)


def _check_volumes(app: App, state: ClusterState) -> None:
    """What is external has to be there already."""
    used = {
        item.source
        for service in app.services
        for item in read_container(service).volumes
        if item.kind == "volume"
    }
    for volume in app.volumes:
        if (
            volume.external
            and volume.name in used
            and (VOLUME_CLAIM.name, volume.name) not in state.elsewhere
        ):
            raise Conflict(
                f"volumes.{volume.key}: namespace {state.namespace!r} has no PersistentVolumeClaim {volume.name!r}",
                "make it, or leave external out",
            )


def _step(item: Wanted, state: ClusterState, options: PlanOptions) -> ClusterAction:
    kind, name = item.key
    found = state.objects.get(item.key)
    if found is None:
        if item.key in state.elsewhere:
            raise Conflict(
                f"the {kind} {name!r} in namespace {state.namespace!r} is not the app's",
                "call the service otherwise, remove it, or use a namespace of its own",
            )
        return _action("create", item, "there is none")
    if found.is_being_removed:
        return _action("create", item, "the old one is being removed", replaces=True)
    changed = changed_fields(found.fingerprint, _fingerprint(item.manifest))
    is_workload = bool(item.service) and "template" in item.manifest.get("spec", {})
    if not changed and not (options.force_recreate and is_workload):
        return _action("keep", item, "it is as it should be")
    if options.no_recreate and set(changed) - _NUMBERS:
        return _action("keep", item, "it is there, and nothing is to be replaced", changed)
    if options.force_recreate and kind == DEPLOYMENT.name:
        item = replace(item, manifest=_anew(item, state))
    shown = ", ".join(changed[:_SHOWN]) + (", …" if len(changed) > _SHOWN else "")
    reason = f"changed: {shown}" if changed else "asked for"
    return _action("recreate", item, reason, changed, replaces=_is_fixed(item.manifest, changed))


def _anew(item: Wanted, state: ClusterState) -> Manifest:
    """The Deployment with a mark on its pods that those that there are do not have, so that all are replaced.

    It is no part of the fingerprint: the next plan has none, and keeps the pods.
    """
    pods = sorted(pod.id for pod in state.instances if pod.service == item.service)
    mark = hashlib.sha256("".join(pods).encode()).hexdigest()[:16]
    spec = item.manifest["spec"]
    metadata = spec["template"]["metadata"]
    annotations = {**metadata.get("annotations", {}), names.RECREATED_ANNOTATION: mark}
    template = {**spec["template"], "metadata": {**metadata, "annotations": annotations}}
    return {**item.manifest, "spec": {**spec, "template": template}}


def _is_fixed(manifest: Manifest, changed: tuple[str, ...]) -> bool:
    """Whether the cluster refuses to change the object: a Job's pods, and a Deployment that shall not roll any more."""
    strategy = manifest.get("spec", {}).get("strategy") or {}
    return manifest["kind"] == JOB.name or (
        "spec.strategy.type" in changed and strategy.get("type") == "Recreate"
    )


def _action(
    verb: str, item: Wanted, reason: str, changed: tuple[str, ...] = (), replaces: bool = False
) -> ClusterAction:
    kind, name = item.key
    return ClusterAction(
        *(verb, kind, name, reason, item.service),
        changed=changed,
        manifest=item.manifest,
        replaces=replaces,
        users=item.users,
    )


def _fingerprint(manifest: Manifest) -> dict[str, str]:
    text = manifest["metadata"]["annotations"][names.FINGERPRINT_ANNOTATION]
    return {str(key): str(value) for key, value in json.loads(text).items()}


def _rest(
    app: App, state: ClusterState, chosen: frozenset[str], wanted: set[Key], options: PlanOptions
) -> Iterator[Action]:
    """What there is and is not wanted: data is kept, and services that left the file unless orphans are to go."""
    known = {service.name for service in app.services}
    orphans = {found.service for found in state.objects.values()} - known - {""}
    for (kind, name), found in state.objects.items():
        if (kind, name) in wanted or kind == NAMESPACE.name or found.is_being_removed:
            continue
        if kind == VOLUME_CLAIM.name:
            yield Action("keep", kind, name, "not used any more; it holds data", found.service)
        elif found.service and found.service not in known:
            yield _orphan(kind, name, found, options)
        elif not found.service and orphans and not options.remove_orphans:
            yield Action("keep", kind, name, "orphans may use it")
        elif not found.service or found.service in chosen:
            yield Action("remove", kind, name, "not asked for any more", found.service)


def _orphan(kind: str, name: str, found: Found, options: PlanOptions) -> Action:
    if options.remove_orphans:
        return Action("remove", kind, name, "an orphan: its service left the file", found.service)
    return Action("keep", kind, name, "an orphan: remove_orphans removes it", found.service)
