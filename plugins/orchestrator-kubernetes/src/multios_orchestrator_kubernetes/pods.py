"""One service's container as the pods that Kubernetes shall run, and every field that it cannot have refused by name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multios.errors import Unsupported
from multios.model import container_document
from multios.model.app import App, Service
from multios.model.container import ContainerConfig, HealthRequest, Resources, Security
from multios_orchestrator_kubernetes import names, unmapped
from multios_orchestrator_kubernetes.settings import KubernetesSettings

FILE_KEY = "content"
"""Under which a file's bytes stand in its ConfigMap or Secret."""
_USUAL_SHARED_MEMORY = 64 << 20
"""Bytes of /dev/shm that the nodes give every container, as the engine does."""
USER_NAMESPACES_SINCE = (1, 33)
"""Kubernetes from which on ``hostUsers: false`` needs no feature gate."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """What everything is rendered for."""

    app: App
    settings: KubernetesSettings
    namespace: str
    version: tuple[int, int] = (0, 0)


def read_container(service: Service) -> ContainerConfig:
    """The service's container, whose document was checked at the door."""
    return container_document.parse({**service.container, "name": "checked"})


def template(rendering: Rendering, service: Service, networks: Mapping[str, str]) -> dict[str, Any]:
    """The pod template. ``networks`` maps the networks that the container names to their keys in the app.

    Raises ``Unsupported`` for a field that a cluster has no equal of.
    """
    where = f"services.{service.name}"
    config = read_container(service)
    unmapped.refuse_hooks(where, service)
    unmapped.refuse(f"{where}.container", config)
    volumes, mounts = _volumes(rendering, service, config)
    container: dict[str, Any] = {
        "name": names.host_label(where, service.name),
        "image": config.image,
        **_command(config),
        "env": [{"name": key, "value": literal(value)} for key, value in sorted(config.environment.items())],
        "resources": _resources(f"{where}.container.resources", config.resources),
        "securityContext": _security(f"{where}.container", config),
        "volumeMounts": mounts,
    }
    if config.working_directory:
        container["workingDir"] = config.working_directory
    if config.terminal:
        container["tty"] = True
    if config.open_stdin:
        container["stdin"] = True
    if probe := _readiness(f"{where}.container.healthcheck", config.healthcheck):
        container["readinessProbe"] = probe
    annotations = {
        names.annotation_key(f"{where}.container.labels", key): value for key, value in config.labels.items()
    }
    if service.files:
        annotations[names.FILES_ANNOTATION] = _files_digest(rendering.app, service)
    return {
        "metadata": {
            "labels": _pod_labels(rendering, service, config, networks),
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {**_pod(rendering, where, config), "containers": [container], "volumes": volumes},
    }


def found_under(service: Service, config: ContainerConfig) -> tuple[str, ...]:
    """The names of the service in the cluster's DNS: its own, its aliases and its container's."""
    where = f"services.{service.name}"
    aliases = [*config.networking.aliases]
    for attachment in config.networking.attachments.values():
        aliases += attachment.aliases
    others = {names.host_label(f"{where}.container.networking.aliases", item) for item in aliases}
    if service.container_name:
        others.add(names.host_label(f"{where}.container_name", service.container_name))
    return (names.host_label(where, service.name), *sorted(others - {service.name}))


def literal(text: str) -> str:
    """``text`` so that Kubernetes, which replaces ``$(NAME)`` in commands and variables, leaves it as it is."""
    return text.replace("$", "$$")


# --- the pod ------------------------------------------------------------------------------------------


def host_users(settings: KubernetesSettings, version: tuple[int, int]) -> dict[str, bool]:
    """The pod's ``hostUsers``, where it is said."""
    if settings.host_users == "auto":
        return {"hostUsers": False} if version >= USER_NAMESPACES_SINCE else {}
    return {"hostUsers": settings.host_users == "true"}


def _pod(rendering: Rendering, where: str, config: ContainerConfig) -> dict[str, Any]:
    settings, networking = rendering.settings, config.networking
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": config.stop_timeout,
        "securityContext": {"seccompProfile": {"type": _seccomp(where, config.security)}},
        **host_users(settings, rendering.version),
    }
    if config.sysctls:
        pod["securityContext"]["sysctls"] = [
            {"name": name, "value": value} for name, value in sorted(config.sysctls.items())
        ]
    if config.groups:
        path = f"{where}.container.groups"
        pod["securityContext"]["supplementalGroups"] = [_number(path, group) for group in config.groups]
    if settings.runtime_class:
        pod["runtimeClassName"] = settings.runtime_class
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if config.hostname:
        pod["hostname"] = names.host_label(f"{where}.container.hostname", config.hostname)
    if config.init:
        pod["shareProcessNamespace"] = True  # whose first process reaps, as an init does
    if networking.dns or networking.dns_search:
        lists = {"nameservers": list(networking.dns), "searches": list(networking.dns_search)}
        pod["dnsConfig"] = {key: values for key, values in lists.items() if values}
    if networking.extra_hosts:
        pod["hostAliases"] = [
            {"ip": address, "hostnames": [name]} for name, address in sorted(networking.extra_hosts.items())
        ]
    return pod


def _pod_labels(
    rendering: Rendering, service: Service, config: ContainerConfig, networks: Mapping[str, str]
) -> dict[str, str]:
    where = f"services.{service.name}.container.networking.networks"
    on = [networks[name] for name in config.networking.networks if name in networks]
    return {
        **names.app_labels(rendering.app.name, service.name),
        **{f"{names.NETWORK_PREFIX}{names.label_value(where, key)}": "" for key in on},
        **{f"{names.ALIAS_PREFIX}{alias}": "" for alias in found_under(service, config)},
    }


def _command(config: ContainerConfig) -> dict[str, list[str]]:
    """Kubernetes' ``command`` is the image's entry point, its ``args`` are the image's command."""
    command, entrypoint = list(map(literal, config.command)), config.entrypoint
    if entrypoint is None:
        return {"args": command} if command else {}
    if not entrypoint:  # taken away: the command stands alone
        return {"command": command} if command else {}
    return {"command": list(map(literal, entrypoint)), **({"args": command} if command else {})}


def _readiness(where: str, request: HealthRequest | None) -> dict[str, Any] | None:
    """A health probe as one of readiness: an unhealthy container gets no traffic, and is not killed."""
    if request is None or request.test == ("NONE",):
        return None
    if not request.test:
        raise Unsupported(f"{where}: a cluster does not read the image's probe", "give its test here too")
    if request.start_interval is not None:
        raise Unsupported(f"{where}.start_interval: a cluster probes in one interval", "leave it out")
    kind, *words = request.test
    return {
        "exec": {"command": words if kind == "CMD" else ["/bin/sh", "-c", *words]},
        "periodSeconds": max(1, math.ceil(request.interval or 30)),
        "timeoutSeconds": max(1, math.ceil(request.timeout or 30)),
        "failureThreshold": request.retries or 3,
    }


# --- resources and confinement ------------------------------------------------------------------------


def _resources(where: str, asked: Resources) -> dict[str, dict[str, str]]:
    limits: dict[str, str] = {}
    if asked.cpu_limit is not None and asked.cpu_limit > 0:
        limits["cpu"] = f"{max(1, round(asked.cpu_limit * 1000))}m"
    for resource, size in (("memory", asked.memory_limit), ("ephemeral-storage", asked.disk_limit)):
        if size is not None and size > 0:
            limits[resource] = str(size)
    for page, size in (asked.hugepages or {}).items():
        if size > 0:
            limits[f"hugepages-{page.replace('B', 'i')}"] = str(size)
    result = {"limits": limits} if limits else {}
    if asked.cpu_shares is not None and asked.cpu_shares > 0:
        # As the kubelet writes a request back: 1024 shares are one core.
        milli = max(1, asked.cpu_shares * 1000 // 1024)
        if asked.cpu_limit is not None and 0 < asked.cpu_limit * 1000 < milli:
            raise Unsupported(
                f"{where}.cpu_shares: {asked.cpu_shares} ask for more than cpu_limit allows",
                "1024 shares are one core on a cluster: give fewer",
            )
        result["requests"] = {"cpu": f"{milli}m"}
    return result


def _security(where: str, config: ContainerConfig) -> dict[str, Any]:
    asked = config.security
    context: dict[str, Any] = {
        "privileged": False,
        "allowPrivilegeEscalation": not asked.no_new_privileges,
        "readOnlyRootFilesystem": bool(asked.read_only),
        "capabilities": {"drop": ["ALL"]},
    }
    if asked.capabilities:
        kept = sorted(set(asked.capabilities) - set(asked.drop_capabilities))
        context["capabilities"]["add"] = kept
    if config.user:
        user, _, group = config.user.partition(":")
        context["runAsUser"] = 0 if user == "root" else _number(f"{where}.user", user)
        context["runAsNonRoot"] = context["runAsUser"] != 0
        if group:
            context["runAsGroup"] = 0 if group == "root" else _number(f"{where}.user", group)
    return context


def _seccomp(where: str, asked: Security) -> str:
    profiles = {"default": "RuntimeDefault", "": "RuntimeDefault", "unconfined": "Unconfined"}
    if asked.seccomp_profile not in profiles:
        raise Unsupported(
            f"{where}.container.security.seccomp_profile: a cluster's nodes do not have {asked.seccomp_profile!r}",
            "use default",
        )
    return profiles[asked.seccomp_profile]


def _number(where: str, text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise Unsupported(f"{where}: a cluster takes numbers, not {text!r}", "give its uid or gid")
    return int(text)


# --- volumes and files --------------------------------------------------------------------------------


def _volumes(
    rendering: Rendering, service: Service, config: ContainerConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pod's volumes, and where its container mounts them."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []

    def add(source: Mapping[str, Any], target: str, **mount: Any) -> None:
        name = f"v{len(volumes)}"
        volumes.append({"name": name, **source})
        mounts.append({"name": name, "mountPath": target, **mount})

    where = f"services.{service.name}"
    for number, volume in enumerate(config.volumes):
        if volume.kind == "tmpfs":
            size = {"sizeLimit": volume.source} if volume.source else {}
            add({"emptyDir": {"medium": "Memory", **size}}, volume.target)
        elif volume.kind == "bind":
            raise Unsupported(
                f"{where}.container.volumes[{number}].host: a cluster's nodes do not have {volume.source}",
                "use a volume, or a config of the app for a file",
            )
        else:
            claim = _claim(rendering, f"{where}.container.volumes[{number}].volume", volume.source)
            mode = {"readOnly": True} if volume.mode == "ro" else {}
            add({"persistentVolumeClaim": {"claimName": claim}}, volume.target, **mode)
    taken = {volume.target for volume in config.volumes}
    if config.shm_size != _USUAL_SHARED_MEMORY and "/dev/shm" not in taken:
        add({"emptyDir": {"medium": "Memory", "sizeLimit": str(config.shm_size)}}, "/dev/shm")
    if config.security.read_only and config.security.read_only_tmpfs:
        for target in ("/run", "/tmp", "/var/tmp"):
            if target not in taken:
                add({"emptyDir": {"medium": "Memory"}}, target)
    secrets = {file.key for file in rendering.app.files if file.secret}
    for number, use in enumerate(service.files):
        if use.uid or use.gid or use.mode > 0o777:
            raise Unsupported(
                f"{where}.files[{number}]: a cluster gives files to root, with a mode up to 0777",
                "leave out uid and gid, and let all read it: mode 0444",
            )
        name = names.object_name(rendering.app.name, use.source)
        items = [{"key": FILE_KEY, "path": FILE_KEY, "mode": use.mode}]
        is_secret = use.source in secrets
        source = {"secretName": name, "items": items} if is_secret else {"name": name, "items": items}
        add({"secret" if is_secret else "configMap": source}, use.target, subPath=FILE_KEY, readOnly=True)
    return volumes, mounts


def _claim(rendering: Rendering, where: str, source: str) -> str:
    for volume in rendering.app.volumes:
        if volume.name == source:
            return source if volume.external else names.object_name(rendering.app.name, volume.key)
    raise Unsupported(f"{where}: the app has no volume {source!r}", "declare it under volumes")


def _files_digest(app: App, service: Service) -> str:
    digest = hashlib.sha256()
    used = {use.source for use in service.files}
    for file in sorted((file for file in app.files if file.key in used), key=lambda file: file.key):
        digest.update(hashlib.sha256(file.content).digest())
    return digest.hexdigest()[:16]
