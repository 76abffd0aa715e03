"""``networks.*``, and the ports of running containers."""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, Any

from multios.api.server import Call
from multios.engine.caller import LOWEST_FREE_PORT
from multios.engine.network_filters import LIST_FILTERS, PRUNE_FILTERS, select
from multios.engine.networks import DEFAULT, NetworkRequest
from multios.engine.registry import RUNNING
from multios.engine.security_profiles import refuse_network
from multios.errors import InvalidInput, MultiosError, Refused
from multios.model import networking_section
from multios.model.container import Container
from multios.model.json import to_json
from multios.model.network import Network, PortMapping

if TYPE_CHECKING:
    from multios.engine.engine import Engine


ENDED_SECONDS = 2.0


class Networks:
    """``networks.*``"""

    prefix = "networks"

    def __init__(self, engine: Engine) -> None:
        self._engine, self._networks, self._registry = engine, engine.networks, engine.registry
        self._containers, self._events = engine.containers, engine.events

    def list(self, call: Call) -> Any:
        chosen = select(self._networks.visible(call.caller), call.mapping("filters"), LIST_FILTERS)
        return [self._seen(call, network) for network in chosen]

    def inspect(self, call: Call) -> Any:
        return self._seen(call, self._networks.find(call.text("name"), call.caller))

    def _seen(self, call: Call, network: Network) -> dict[str, Any]:
        """The row with the endpoints of the caller's own containers: a network may be everyone's."""
        row = self._networks.row(network)
        mine = {container.id: container for container in self._registry.visible(call.caller)}
        endpoints = [
            {**item, "name": mine[item["container"]].name, "ports": _ports(mine[item["container"]])}
            for item in row["endpoints"]
            if item["container"] in mine
        ]
        return {**row, "endpoints": endpoints, "containers": len(endpoints)}

    def create(self, call: Call) -> Any:
        subnet, subnet6 = _by_family("subnet", call.words("subnets"))
        gateway, gateway6 = _by_family("gateway", call.words("gateways"))
        request = NetworkRequest(
            driver=call.text("driver", ""),
            subnet=subnet,
            gateway=gateway,
            subnet6=subnet6,
            gateway6=gateway6,
            ip_range=call.text("ip_range", ""),
            ipv6=call.flag("ipv6"),
            internal=call.flag("internal"),
            isolate=call.flag("isolate"),
            shared=call.flag("shared"),
            egress_allow=tuple(call.words("egress_allow")),
            options=call.texts("options"),
            labels=call.texts("labels"),
        )
        network = self._networks.create(call.text("name"), call.caller, request)
        self._tell("create", network)
        return {"id": network.id, "name": network.name}

    def remove(self, call: Call) -> Any:
        network = self._networks.find(call.text("name"), call.caller)
        self._await_ended(network)
        self._networks.remove(network.id, call.caller)
        self._tell("remove", network)
        return {"name": network.name}

    def _await_ended(self, network: Network) -> None:
        """Containers that have ended give their places back a moment after who waited for them was told."""
        deadline = time.monotonic() + ENDED_SECONDS
        while time.monotonic() < deadline:
            holders = {item["container"] for item in self._networks.row(network)["endpoints"]}
            records = [self._registry.get(container_id) for container_id in holders]
            if all(record and record.status in RUNNING and not record.removing for record in records):
                return
            time.sleep(0.005)

    def prune(self, call: Call) -> Any:
        """Remove the caller's networks that no container names."""
        removed = []
        for network in select(self._networks.visible(call.caller), call.mapping("filters"), PRUNE_FILTERS):
            is_named = any(self._networks.is_named_by(network, item) for item in self._registry.all())
            if network.name != DEFAULT and not is_named and call.caller.may_see(network.owner):
                self._await_ended(network)
                self._networks.remove(network.id, call.caller)
                self._tell("remove", network)
                removed.append(network.name)
        return {"removed": removed}

    def connect(self, call: Call) -> Any:
        network = self._networks.find(call.text("network"), call.caller)
        attachment = networking_section.parse_attachment(call.mapping("attachment"))
        container = self._registry.find(call.text("ref"), call.caller)
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            refuse_network(container.config, call.caller, self._engine.settings)
            self._containers.attachments.connect(container, network, attachment)
        self._tell("connect", network, container=container.id)
        return {"id": container.id}

    def disconnect(self, call: Call) -> Any:
        network = self._networks.find(call.text("network"), call.caller)
        container = self._registry.find(call.text("ref"), call.caller)
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            self._containers.attachments.disconnect(container, network)
        self._tell("disconnect", network, container=container.id)
        return {"id": container.id}

    def repair(self, call: Call) -> Any:
        """Put back what other programs took from the host's side of networks and containers."""
        if not call.caller.is_administrator:
            raise Refused("repairing networks is for administrators", "ask the administrator")
        networks = self._networks.visible(call.caller)
        failed = []
        for network in networks:
            try:
                self._networks.repair(network)
            except MultiosError as error:
                failed.append({"network": network.name, "cause": error.cause, "remedy": error.remedy})
        count = 0
        for container in self._registry.all():
            with self._registry.lock(container.id):
                current = self._registry.get(container.id)
                if current is None or current.status not in RUNNING:
                    continue
                try:
                    self._containers.attachments.restore(current)
                    count += 1
                except MultiosError as error:
                    failed.append({"container": current.name, "cause": error.cause, "remedy": error.remedy})
        return {"networks": len(networks), "containers": count, "failed": failed}

    def _tell(self, action: str, network: Network, **attributes: Any) -> None:
        self._events.publish("network", action, network.id, network.name, owner=network.owner, **attributes)


class Ports:
    """``containers.forward`` and ``containers.withdraw``: published ports of containers, running or not."""

    prefix = "containers"

    def __init__(self, engine: Engine) -> None:
        self._registry, self._containers = engine.registry, engine.containers

    def forward(self, call: Call) -> Any:
        container = self._registry.find(call.text("ref"), call.caller)
        ports = networking_section.parse_ports(call.params.get("ports"))
        low = next((port.host for port in ports if 0 < port.host < LOWEST_FREE_PORT), None)
        if low is not None and not call.caller.is_administrator:
            raise Refused(
                f"host port {low}, below {LOWEST_FREE_PORT} is for administrators", "choose a higher one"
            )
        return self._changed(container, ports, remove=False)

    def withdraw(self, call: Call) -> Any:
        container = self._registry.find(call.text("ref"), call.caller)
        return self._changed(container, networking_section.parse_ports(call.params.get("ports")), remove=True)

    def _changed(self, container: Container, ports: tuple[PortMapping, ...], remove: bool) -> Any:
        if not ports:
            raise InvalidInput("no port is named", "write it as 8080:80")
        with self._registry.lock(container.id):
            container = self._registry.current(container.id)
            attachments = self._containers.attachments
            change = attachments.withdraw if remove else attachments.forward
            return {"ports": [to_json(port) for port in change(container, ports)]}


def _ports(container: Container) -> Any:
    return [to_json(port) for port in container.ports]


def _by_family(field: str, texts: Any) -> tuple[str, str]:
    """At most one of each family; what is neither goes on, to be refused as IPv4."""
    found: dict[int, str] = {}
    for text in texts:
        try:
            version = ipaddress.ip_interface(text).version
        except ValueError:
            version = 4
        if version in found:
            raise InvalidInput(f"{field}: {found[version]} and {text} are of one family", "give one of each")
        found[version] = text
    return found.get(4, ""), found.get(6, "")
