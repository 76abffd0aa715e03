"""An app as the objects that a cluster shall have. Pure: nothing is asked of anyone."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from multios.errors import InvalidInput, Unsupported
from multios.model.app import COMPLETED, App, AppNetwork, Service, UpdatePolicy, fingerprint
from multios.model.container import ContainerConfig
from multios_orchestrator_kubernetes import names, pods
from multios_orchestrator_kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    VOLUME_CLAIM,
    Kind,
    Manifest,
    key_of,
)
from multios_orchestrator_kubernetes.pods import Rendering, read_container

_ENDLESS_RETRIES = 2**31 - 1
_IGNORED_IN_NETWORKS = {"driver", "labels", "internal", "egress_allow", "ipv6", "shared"}
"""Of ``networks.create``: what is mapped, and what asks for nothing that a cluster would not do."""
_DNS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object. ``service`` is whose it is; ``users`` are the services that need it, empty for all."""

    manifest: Manifest
    service: str = ""
    users: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return key_of(self.manifest)


def objects(
    rendering: Rendering, with_namespace: bool, scale: Mapping[str, int], start: bool = True
) -> tuple[Wanted, ...]:
    """Everything, in an order in which it can be made. Raises ``MultiosError`` that names the field it cannot map.

    ``scale`` has other numbers of replicas. Without ``start`` no pod is made yet.
    """
    app = rendering.app
    containers = {service.name: read_container(service) for service in app.services}
    networks = _network_keys(app, containers)
    made = [
        *_namespace(rendering, with_namespace),
        *_files(rendering),
        *_claims(rendering, containers),
        *_policies(rendering, containers, networks),
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
    return tuple(Wanted(signed(item.manifest), item.service, item.users) for item in made)


def signed(manifest: Manifest) -> Manifest:
    """The object with its fingerprint on it, by which a later plan sees what changed."""
    text = json.dumps(fingerprint(_viewed(manifest)), sort_keys=True, separators=(",", ":"))
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), names.FINGERPRINT_ANNOTATION: text}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _viewed(manifest: Manifest) -> dict[str, Any]:
    """The object so that its fingerprint's paths say something: a workload's container stands at its top."""
    view = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind", "metadata")}
    view["labels"] = manifest["metadata"].get("labels", {})
    template = (view.get("spec") or {}).get("template")
    if template:
        pod = dict(template["spec"])
        (container,) = pod.pop("containers")
        variables = {item["name"]: item["value"] for item in container["env"]}
        view["container"] = {**container, "env": variables}
        view["pod"] = {**pod, "metadata": template["metadata"]}
        view["spec"] = {key: value for key, value in view["spec"].items() if key != "template"}
    return view


def _object(rendering: Rendering, kind: Kind, name: str, service: str = "", **fields: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": names.app_labels(rendering.app.name, service)}
    if kind.is_namespaced:
        metadata["namespace"] = rendering.namespace
    return {"apiVersion": kind.version, "kind": kind.name, "metadata": metadata, **fields}


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
        yield Wanted(_object(rendering, NAMESPACE, names.namespace_name("name", rendering.namespace)))


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
        yield Wanted(_object(rendering, SECRET if file.secret else CONFIG_MAP, name, **content), users=users)


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
        claim = _object(rendering, VOLUME_CLAIM, names.object_name(rendering.app.name, volume.key), spec=spec)
        if volume.labels:
            where = f"volumes.{volume.key}.labels"
            annotations = {names.annotation_key(where, key): text for key, text in volume.labels.items()}
            claim["metadata"]["annotations"] = annotations
        yield Wanted(claim, users=users)


# --- networks -----------------------------------------------------------------------------------------


def _network_keys(app: App, containers: Mapping[str, ContainerConfig]) -> dict[str, str]:
    """The networks that containers name, to their keys. The engine's ``default`` is one of the app's own here."""
    keys = {}
    for network in app.networks:
        if network.external:
            raise Unsupported(
                f"networks.{network.key}.external: a cluster's network policies are of one app",
                "leave external out, or let the apps meet by published ports",
            )
        _refuse_unmapped(network)
        keys[network.name] = network.key
    for name, config in containers.items():
        for used in config.networking.networks:
            if used == "default":
                keys.setdefault(used, used)
            elif used not in keys and used not in ("none", "host"):
                raise Unsupported(
                    f"services.{name}.container.networking.networks: the app has no network {used!r}",
                    "declare it under networks",
                )
    return keys


def _refuse_unmapped(network: AppNetwork) -> None:
    request = network.request
    for field, value in request.items():
        if value and field not in _IGNORED_IN_NETWORKS:
            raise Unsupported(
                f"networks.{network.key}.request.{field}: the cluster has its own addresses and drivers",
                "leave it out",
            )
    if request.get("driver") not in (None, "", "bridge"):
        raise Unsupported(
            f"networks.{network.key}.request.driver: a cluster has one network, not {request['driver']!r}",
            "leave it out",
        )


def _policies(
    rendering: Rendering, containers: Mapping[str, ContainerConfig], networks: Mapping[str, str]
) -> Iterator[Wanted]:
    """Nothing comes in but from the same network and to published ports; what is internal gets nowhere else."""
    app = rendering.app.name
    everything = {"matchLabels": names.app_labels(app)}
    yield _policy(rendering, "deny", {"podSelector": everything, "policyTypes": ["Ingress"]})
    by_name = {network.name: network for network in rendering.app.networks}
    for name, key in networks.items():
        on_it = {"matchLabels": {**names.app_labels(app), f"{names.NETWORK_PREFIX}{key}": ""}}
        yield _policy(
            rendering,
            f"network-{key}",
            {
                "podSelector": on_it,
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": on_it}]}],
            },
            users=frozenset(
                service for service, config in containers.items() if name in config.networking.networks
            ),
        )
    for service, config in containers.items():
        pods_of_it = {"matchLabels": names.app_labels(app, service)}
        if ports := _policy_ports(config):
            yield _policy(
                rendering,
                f"published-{service}",
                {"podSelector": pods_of_it, "policyTypes": ["Ingress"], "ingress": [{"ports": ports}]},
                service,
            )
        rules = _egress(rendering, service, config, networks, by_name)
        if rules is not None:
            yield _policy(
                rendering,
                f"egress-{service}",
                {"podSelector": pods_of_it, "policyTypes": ["Egress"], "egress": rules},
                service,
            )


def _policy(
    rendering: Rendering,
    name: str,
    spec: Mapping[str, Any],
    service: str = "",
    users: frozenset[str] = frozenset(),
) -> Wanted:
    full = names.object_name(rendering.app.name, name)
    manifest = _object(rendering, NETWORK_POLICY, full, service, spec=spec)
    return Wanted(manifest, service, frozenset({service}) if service else users)


def _policy_ports(config: ContainerConfig) -> list[dict[str, Any]]:
    return [{"port": port.container, "protocol": port.protocol.upper()} for port in config.networking.ports]


def _egress(
    rendering: Rendering,
    service: str,
    config: ContainerConfig,
    networks: Mapping[str, str],
    by_name: Mapping[str, AppNetwork],
) -> list[dict[str, Any]] | None:
    """Rules where the service may not reach everything; ``None`` where it may."""
    on = config.networking.networks
    if "none" in on:
        return []
    requests = [by_name[name].request if name in by_name else {} for name in on]
    allowed = list(config.networking.egress_allow)
    for request in requests:
        allowed += request.get("egress_allow") or ()
    is_internal = all(request.get("internal") for request in requests)
    if not is_internal and not allowed:
        return None
    peers = [
        {
            "podSelector": {
                "matchLabels": {
                    **names.app_labels(rendering.app.name),
                    f"{names.NETWORK_PREFIX}{networks[name]}": "",
                }
            }
        }
        for name in on
    ]
    where = f"services.{service}.container.networking.egress_allow"
    blocks = (
        [{"ipBlock": {"cidr": _cidr(where, text)}} for text in dict.fromkeys(allowed)]
        if not is_internal
        else []
    )
    return [{"to": [{"namespaceSelector": {}}], "ports": _DNS}, {"to": [*peers, *blocks]}]


def _cidr(where: str, text: str) -> str:

    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise Unsupported(
            f"{where}: a cluster's policies know addresses, not {text!r}", "give addresses or CIDRs"
        ) from None


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
        manifest = _object(rendering, SERVICE, name, owner, spec=spec)
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
        _object(rendering, SERVICE, name, service.name, spec=spec), service.name, frozenset({service.name})
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
    return _object(rendering, DEPLOYMENT, service.name, service.name, spec=spec)


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
    return _object(rendering, JOB, service.name, service.name, spec=spec)
