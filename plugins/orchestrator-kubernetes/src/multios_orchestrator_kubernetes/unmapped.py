"""What a cluster has no equal of: refused by the field's name, never left out in silence."""

from __future__ import annotations

import dataclasses
from typing import Any

from multios.errors import Unsupported
from multios.model.app import Service
from multios.model.container import HOST_GATEWAY, ContainerConfig


def refuse(where: str, config: ContainerConfig) -> None:
    """Raise ``Unsupported`` for the first field below ``where`` that a cluster has no equal of."""
    for field, is_asked, why, remedy in _unmapped(config):
        if is_asked:
            raise Unsupported(f"{where}.{field}: {why}", remedy)
    parts: dict[str, Any] = {
        "resources": config.resources,
        "networking": config.networking,
        "security": config.security,
    }
    for part, record in {"": config, **parts}.items():
        for item in dataclasses.fields(record):
            value = getattr(record, item.name)
            if item.name not in _KNOWN[part] and value != _default(item) and value not in _NOTHING:
                field = f"{part}.{item.name}" if part else item.name
                raise Unsupported(f"{where}.{field}: a cluster has no equal of it", "leave it out")


def refuse_hooks(where: str, service: Service) -> None:
    """Raise ``Unsupported`` for commands around a container's start and stop: a cluster's promise less, and fail otherwise."""
    for key, asked in (("post_start", service.post_start), ("pre_stop", service.pre_stop)):
        if asked:
            raise Unsupported(
                f"{where}.{key}: on a cluster nothing is run in a container by the app",
                "put it into the image's entry point",
            )


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


_SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    *(
        f"net.ipv4.{name}"
        for name in (
            *(
                "ip_local_port_range",
                "ip_local_reserved_ports",
                "ip_unprivileged_port_start",
                "ping_group_range",
            ),
            *(
                "tcp_syncookies",
                "tcp_keepalive_time",
                "tcp_keepalive_intvl",
                "tcp_keepalive_probes",
                "tcp_fin_timeout",
            ),
        )
    ),
}
"""Which the Pod Security Standards' baseline allows."""
_NOTHING = (-1, "")
"""What resources are when a limit is taken away."""
_KNOWN: dict[str, frozenset[str]] = {
    "": frozenset(
        "name image command entrypoint environment working_directory user groups hostname terminal open_stdin init "  # noqa: SIM905
        "resources networking security volumes labels restart_policy healthcheck stop_signal stop_timeout shm_size sysctls".split()
    ),
    "resources": frozenset({"cpu_limit", "cpu_shares", "memory_limit", "disk_limit", "hugepages"}),
    "networking": frozenset(
        "networks attachments aliases egress_allow ports dns dns_search extra_hosts".split()  # noqa: SIM905
    ),
    "security": frozenset(
        "capabilities drop_capabilities seccomp_profile read_only read_only_tmpfs no_new_privileges explain".split()  # noqa: SIM905
    ),
}
"""What is mapped. Any other field that is not as it is by default is refused, those that come to be later too."""


def _unmapped(config: ContainerConfig) -> tuple[tuple[str, object, str, str], ...]:
    """Field, whether it is asked for, why a cluster cannot, and what to do: where there is more to say than that it cannot."""
    resources, networking, security = config.resources, config.networking, config.security
    default, none = ContainerConfig("default"), "a cluster has no equal of it"
    leave = "leave it out"
    return (
        ("template", config.template or config.template_options, "a cluster runs images", "push the template's image, and name it as image"),
        ("devices", config.devices, "the devices of a host are not on the cluster's nodes", "leave it out, or use a device plugin of the cluster"),
        ("files", config.files, "on a cluster files are the app's", "give it as a config or a secret of the app"),
        ("sysctls", config.sysctls.keys() - _SAFE_SYSCTLS, "nodes set only what Kubernetes calls safe", f"leave out all but {', '.join(sorted(_SAFE_SYSCTLS))}"),
        ("rlimits", config.rlimits, none, "set them in the image's entry point"),
        ("stop_signal", config.stop_signal not in ("", "SIGTERM"), "a cluster stops with SIGTERM", "set STOPSIGNAL in the image"),
        ("auto_remove", config.auto_remove, "the cluster replaces what ends", leave),
        ("log", (config.log_max_size, config.log_max_files) != (default.log_max_size, default.log_max_files), "the nodes keep the logs", leave),
        ("drivers", config.drivers, "the nodes choose them", "leave it out; runtime_class chooses a runtime"),
        ("driver_options", config.driver_options, "the nodes choose them", leave),
        ("resources.cpuset", resources.cpuset, none, "use cpu_limit"),
        ("resources.memory_swap", (resources.memory_swap or 0) > 0, "the nodes decide on swap", leave),
        ("resources.pids_limit", (resources.pids_limit or 0) > 0, "the nodes have one limit for all pods (podPidsLimit)", leave),
        ("networking.networks", "host" in networking.networks, "pods are not on a node's network", "publish ports"),
        ("networking.networks", networking.shared_with, "pods do not share a network", "let both join one network, and use names"),
        ("networking.ports", any(port.host_last for port in networking.ports), "a Service has one port, not one of a range", "write one"),
        ("networking.address", networking.address or networking.address6, "the cluster gives addresses", "use names"),
        ("networking.mac", networking.mac, "the cluster gives addresses", leave),
        ("networking.attachments", any(item.address or item.address6 or item.mac for item in networking.attachments.values()), "the cluster gives addresses", "use names"),
        ("networking.extra_hosts", HOST_GATEWAY in networking.extra_hosts.values(), "a pod may run on any node", "write an address"),
        ("networking.bandwidth", networking.bandwidth_in or networking.bandwidth_out, none, leave),
        ("security.privileged", security.privileged, "privileged pods are not made", "name the capabilities that it needs"),
        ("security.apparmor_profile", security.apparmor_profile, "the nodes have their own", leave),
        ("security.profiles", security.profiles, "the nodes have their own", leave),
        ("security.profile", security.profile, "it is a bundle of the engine's", "say its parts one by one"),
        ("security.user_namespace", security.user_namespace != "auto", "the cluster chooses the map", "use the setting host_users"),
        ("security.explain", security.explain == "all", "the nodes record nothing for us", leave),
    )  # fmt: skip
