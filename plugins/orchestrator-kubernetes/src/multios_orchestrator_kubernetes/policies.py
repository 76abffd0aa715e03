"""An app's networks as network policies: who may reach whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from multios.errors import Unsupported
from multios.model.app import App, AppNetwork
from multios.model.container import ContainerConfig
from multios_orchestrator_kubernetes import names, wanted
from multios_orchestrator_kubernetes.kinds import NETWORK_POLICY
from multios_orchestrator_kubernetes.pods import Rendering
from multios_orchestrator_kubernetes.wanted import Wanted

_KNOWN = {"driver", "labels", "internal", "egress_allow"}
"""Of ``networks.create``; its labels are for the engine's own lists."""
_DNS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]


def network_keys(app: App, containers: Mapping[str, ContainerConfig]) -> dict[str, str]:
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
        if value and field not in _KNOWN:
            raise Unsupported(
                f"networks.{network.key}.request.{field}: the cluster has its own addresses and drivers",
                "leave it out",
            )
    if request.get("driver") not in (None, "", "bridge"):
        raise Unsupported(
            f"networks.{network.key}.request.driver: a cluster has one network, not {request['driver']!r}",
            "leave it out",
        )


def of(
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
    manifest = wanted.new(rendering, NETWORK_POLICY, full, service, spec=spec)
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
