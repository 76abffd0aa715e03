"""An app as the objects that a cluster shall have. Pure: nothing is asked of anyone."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from multios.errors import InvalidInput, Unsupported
from multios.model.app import COMPLETED, App, Service, UpdatePolicy
from multios.model.container import ContainerConfig
from multios_orchestrator_kubernetes import names, pods, policies, wanted
from multios_orchestrator_kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    SECRET,
    SERVICE,
    VOLUME_CLAIM,
    Manifest,
)
from multios_orchestrator_kubernetes.pods import Rendering, read_container
from multios_orchestrator_kubernetes.wanted import Wanted

_ENDLESS_RETRIES = 2**31 - 1


def objects(
    rendering: Rendering, with_namespace: bool, scale: Mapping[str, int], start: bool = True
) -> tuple[Wanted, ...]:
    """Everything, in an order in which it can be made. Raises ``MultiosError`` that names the field it cannot map.

    ``scale`` has other numbers of replicas. Without ``start`` no pod is made yet.
    """
    app = rendering.app
    _check_restarts(app)
    containers = {service.name: read_container(service) for service in app.services}
    networks = policies.network_keys(app, containers)
    made = [
        *_namespace(rendering, with_namespace),
        *_files(rendering),
        *_claims(rendering, containers),
        *policies.of(rendering, containers, networks),
        *_names(rendering, containers),
    ]
    waited_for = {
        item.service for service in app.services for item in service.depends_on if item.condition == COMPLETED
    }
    for service in app.in_order():
        replicas = scale.get(service.name, service.replicas)
        config = containers[service.name]
        template = pods.template(rendering, service, networks)
        if service.name in waited_for or config.restart_policy.name == "on-failure":
            manifest = _job(rendering, service, config, template, replicas, start)
        else:
            manifest = _deployment(rendering, service, template, replicas if start else 0)
        made.append(Wanted(manifest, service.name, frozenset({service.name})))
    _check_distinct(made)
    return tuple(Wanted(wanted.signed(item.manifest), item.service, item.users) for item in made)


def _check_restarts(app: App) -> None:
    for service in app.services:
        for dependency in service.depends_on:
            if dependency.restart:
                raise Unsupported(
                    f"services.{service.name}.depends_on.{dependency.service}.restart: a cluster starts only that anew which ends",
                    "leave it out",
                )


def _check_distinct(made: list[Wanted]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for item in made:
        if item.key in seen:
            kind, name = item.key
            raise InvalidInput(
                f"two things of the app would be the {kind} {name!r}: {seen[item.key]} and {item.service or 'another'}",
                "call one of them otherwise",
            )
        seen[item.key] = item.service or "one"


def _namespace(rendering: Rendering, with_namespace: bool) -> Iterator[Wanted]:
    if with_namespace:
        yield Wanted(wanted.new(rendering, NAMESPACE, names.namespace_name("name", rendering.namespace)))


# --- files and volumes --------------------------------------------------------------------------------


def _files(rendering: Rendering) -> Iterator[Wanted]:
    for file in rendering.app.files:
        users = frozenset(
            service.name
            for service in rendering.app.services
            if any(use.source == file.key for use in service.files)
        )
        if not users:
            continue
        name = names.object_name(rendering.app.name, file.key)
        encoded = base64.b64encode(file.content).decode()
        if file.secret:
            content: dict[str, Any] = {"type": "Opaque", "data": {pods.FILE_KEY: encoded}}
        else:
            content = {"binaryData": {pods.FILE_KEY: encoded}}
        yield Wanted(
            wanted.new(rendering, SECRET if file.secret else CONFIG_MAP, name, **content), users=users
        )


def _claims(rendering: Rendering, containers: Mapping[str, ContainerConfig]) -> Iterator[Wanted]:
    settings = rendering.settings
    for volume in rendering.app.volumes:
        users = frozenset(
            name
            for name, config in containers.items()
            if any(item.kind == "volume" and item.source == volume.name for item in config.volumes)
        )
        if volume.external or not users:
            continue
        spec: dict[str, Any] = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": str(settings.volume_size)}},
        }
        if settings.storage_class:
            spec["storageClassName"] = settings.storage_class
        claim = wanted.new(
            rendering, VOLUME_CLAIM, names.object_name(rendering.app.name, volume.key), spec=spec
        )
        if volume.labels:
            where = f"volumes.{volume.key}.labels"
            annotations = {names.annotation_key(where, key): text for key, text in volume.labels.items()}
            claim["metadata"]["annotations"] = annotations
        yield Wanted(claim, users=users)


# --- names and ports ----------------------------------------------------------------------------------


def _names(rendering: Rendering, containers: Mapping[str, ContainerConfig]) -> Iterator[Wanted]:
    """A headless Service for each name, so that it leads to the pods with all their ports, and one for what is published."""
    found_under: dict[str, list[Service]] = {}
    for service in rendering.app.services:
        for name in pods.found_under(service, containers[service.name]):
            found_under.setdefault(name, []).append(service)
    for name, services in found_under.items():
        selector = {**names.app_labels(rendering.app.name), f"{names.ALIAS_PREFIX}{name}": ""}
        spec = {"clusterIP": "None", "selector": selector, "publishNotReadyAddresses": False}
        owner = next((item.name for item in services if item.name == name), services[0].name)
        manifest = wanted.new(rendering, SERVICE, name, owner, spec=spec)
        yield Wanted(manifest, owner, frozenset(item.name for item in services))
    for service in rendering.app.services:
        if containers[service.name].networking.ports:
            yield _published(rendering, service, containers[service.name])


def _published(rendering: Rendering, service: Service, config: ContainerConfig) -> Wanted:
    settings = rendering.settings
    where = f"services.{service.name}.container.networking.ports"
    ports = []
    for number, port in enumerate(config.networking.ports):
        is_own = port.address in ("127.0.0.1", "::1") and settings.service_type == "ClusterIP"
        if port.address not in ("", "0.0.0.0", "::") and not is_own:
            raise Unsupported(
                f"{where}[{number}].address: a node's addresses are the cluster's", "leave it out"
            )
        published = {
            "name": f"p{number}",
            "port": port.host or port.container,
            "targetPort": port.container,
            "protocol": port.protocol.upper(),
        }
        ports.append(published)
    spec = {
        "type": settings.service_type,
        "selector": names.app_labels(rendering.app.name, service.name),
        "ports": ports,
    }
    name = names.host_label(where, f"{service.name}-published")
    return Wanted(
        wanted.new(rendering, SERVICE, name, service.name, spec=spec), service.name, frozenset({service.name})
    )


# --- workloads ----------------------------------------------------------------------------------------


def _deployment(rendering: Rendering, service: Service, template: Manifest, replicas: int) -> dict[str, Any]:
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": names.app_labels(rendering.app.name, service.name)},
        **_strategy(f"services.{service.name}.update", service.update),
        "template": template,
    }
    return wanted.new(rendering, DEPLOYMENT, service.name, service.name, spec=spec)


def _strategy(where: str, update: UpdatePolicy | None) -> dict[str, Any]:
    """How pods are replaced. A new one counts when it was ready for ``monitor`` seconds, and the next follows then."""
    if update is None:
        return {"strategy": {"type": "Recreate"}}
    if update.failure_action != "pause":
        raise Unsupported(
            f"{where}.failure_action: a cluster stops at what fails, and does not {update.failure_action}",
            "leave it out; kubectl rollout undo takes a change back",
        )
    step: int | str = update.parallelism or "100%"
    surge, unavailable = (step, 0) if update.order == "start-first" else (0, step)
    seconds = int(-(-max(update.delay, update.monitor) // 1))
    return {
        "minReadySeconds": seconds,
        "progressDeadlineSeconds": max(600, 2 * seconds),
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
        },
    }


def _job(
    rendering: Rendering,
    service: Service,
    config: ContainerConfig,
    template: Manifest,
    replicas: int,
    start: bool,
) -> dict[str, Any]:
    """What ends: it is run until it succeeds, as often as its restart policy says."""
    policy = config.restart_policy
    if policy.name in ("always", "unless-stopped"):
        raise Unsupported(
            f"services.{service.name}.container.restart_policy: it is waited for to complete, and would never",
            "use no or on-failure",
        )
    retries = 0 if policy.name == "no" else policy.maximum_retries or _ENDLESS_RETRIES
    restart = "Never" if policy.name == "no" else "OnFailure"
    spec = {
        "parallelism": replicas,
        "completions": replicas,
        "backoffLimit": retries,
        **({} if start else {"suspend": True}),
        "template": {**template, "spec": {**template["spec"], "restartPolicy": restart}},
    }
    return wanted.new(rendering, JOB, service.name, service.name, spec=spec)
