"""A container's places on its networks: taken at its start, changed while it runs, left at its end."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from multios.drivers.base import Capability
from multios.engine.caller import Caller
from multios.engine.endpoints import Wanted, confinement
from multios.engine.host_ports import HostPorts, clash
from multios.engine.name_sockets import INSIDE
from multios.engine.names import Names
from multios.engine.network_files import write_files
from multios.engine.networks import BUILT_IN, Networks
from multios.engine.registry import RUNNING, Registry
from multios.engine.steps import Steps
from multios.errors import Conflict, MultiosError, NotFound, Unsupported
from multios.model import destination
from multios.model.container import HOST_GATEWAY, Attachment, Container, Networking, Status
from multios.model.network import Endpoint, NamedEndpoint, Network, PortMapping
from multios.plugins.hooks import Hooks

log = logging.getLogger(__name__)
Attached = tuple[Network, Endpoint]

_LONG_ENOUGH = 600
"""Seconds that an address stays allowed at least: programs remember a name's address longer than its TTL says."""


class Attachments:
    """Steps of a start and their inverses, and what may change while a container runs.

    ``open_process`` gives a pidfd of a running container's first process; ``directory`` where its files are.
    Whoever calls holds the container's lock.
    """

    def __init__(
        self,
        networks: Networks,
        names: Names,
        registry: Registry,
        hooks: Hooks,
        directory: Callable[[Container], Path],
        open_process: Callable[[Container], int],
    ) -> None:
        self._networks, self._names, self._registry, self._hooks = networks, names, registry, hooks
        self._directory, self._open_process = directory, open_process
        self.host_ports = HostPorts(registry)

    # --- at a start ---------------------------------------------------------------------------------

    def reserve(self, container: Container, steps: Steps) -> list[Attached]:
        """Addresses on all of the container's networks, and the files that tell of them."""
        attached: list[Attached] = []
        for number, name in enumerate(container.config.networking.networks):
            if name not in BUILT_IN and not container.config.networking.shared_with:
                wanted = Wanted(container, f"eth{number}", _wanted(container.config.networking, name, number))
                attached.append(self._reserve_one(container, name, wanted, steps))
        what = "write hostname file" if container.config.networking.shared_with else "write network files"
        steps.do(what, lambda: self._write_files(container, attached))
        return attached

    def _reserve_one(self, container: Container, name: str, wanted: Wanted, steps: Steps) -> Attached:
        owner = Caller(container.owner, container.owner)
        network = steps.do("make network", lambda: self._networks.ensure(name, owner))
        endpoint = self._networks.reserve(network, wanted)
        steps.later("reserve address", lambda: self._networks.release(endpoint))
        return network, endpoint

    def attach(self, container: Container, attached: list[Attached], netns: int, steps: Steps) -> None:
        """The created container's namespace on its networks, and its names known there."""
        for network, endpoint in attached:
            self._attach_one(container, network, endpoint, netns, steps)
        self._serve_inside(container, attached, netns, steps)

    def _serve_inside(self, container: Container, attached: list[Attached], netns: int, steps: Steps) -> None:
        if self._has_names_inside(attached):
            steps.do(
                "serve names inside",
                lambda: self._names.serve_inside(container.id, netns),
                lambda: self._names.stop_inside(container.id),
            )

    def _attach_one(
        self, container: Container, network: Network, endpoint: Endpoint, netns: int, steps: Steps
    ) -> None:
        words: dict[str, Any] = {
            "driver": self._networks.driver(network),
            "container": container,
            "network": network,
            "endpoint": endpoint,
        }
        steps.do(
            "attach network",
            lambda: self._hooks.attach_network(**words, netns=netns),
            lambda: self._hooks.detach_network(**words),
        )
        if self._networks.has_names(network):
            steps.do(
                "tell its names",
                lambda: self._tell_name(container, network, endpoint),
                lambda: self._names.remove(endpoint.id),
            )

    def publish(
        self, container: Container, attached: list[Attached], steps: Steps
    ) -> tuple[PortMapping, ...]:
        """The container's ports on the host, every host port set."""
        wanted = container.config.networking.ports
        if not wanted or not attached:
            return ()
        ports = self.host_ports.choose(container, wanted)
        steps.later("choose ports", lambda: self.host_ports.forget(container))
        self._publish_at(self._door(attached), ports, steps)
        return ports

    def _publish_at(self, door: Attached, ports: tuple[PortMapping, ...], steps: Steps) -> None:
        network, endpoint = door
        driver = self._networks.driver(network)
        steps.do(
            "publish ports",
            lambda: driver.publish(network, endpoint, ports),
            lambda: driver.unpublish(network, endpoint, ports),
        )

    def _door(self, attached: list[Attached]) -> Attached:
        """The place by which published ports are reached: the first whose network has a way in."""
        for network, endpoint in attached:
            if not network.internal and Capability.PUBLISH in self._networks.driver(network).capabilities:
                return network, endpoint
        return attached[0]  # its driver says why not

    # --- at its end ---------------------------------------------------------------------------------

    def clear(self, container: Container, steps: Steps, delete_container: Callable[[], object]) -> None:
        """Add the inverses of all that a start did to ``steps``, ``delete_container`` in its place among them."""
        attached = self._networks.endpoints_of(container.id)
        for _, endpoint in attached:  # given back last: until then the address may be in use
            steps.later("reserve address", lambda item=endpoint: self._networks.release(item))  # type: ignore[misc]
        steps.later("create container", delete_container)
        for network, endpoint in attached:
            self._clear_one(container, network, endpoint, steps)
        if self._has_names_inside(attached):
            steps.later("serve names inside", lambda: self._names.stop_inside(container.id))

    def _clear_one(self, container: Container, network: Network, endpoint: Endpoint, steps: Steps) -> None:
        driver = self._networks.driver
        steps.later(
            "attach network",
            lambda: self._hooks.detach_network(
                driver=driver(network), container=container, network=network, endpoint=endpoint
            ),
        )
        steps.later("tell its names", lambda: self._names.remove(endpoint.id))
        if container.ports:
            steps.later(
                "publish ports", lambda: driver(network).unpublish(network, endpoint, container.ports)
            )

    # --- while it runs ------------------------------------------------------------------------------

    def restore(self, container: Container) -> None:
        """Make sure of a running container's place on its networks' host side, which may have been flushed.

        What a daemon that was killed had begun or not ended is undone: the record says where the container is.
        """
        attached = self._settled(container)
        failures = [
            failure
            for action in self._restorations(container, attached)
            if (failure := _failure_of(action)) is not None
        ]
        if failures:
            raise failures[0]

    def _restorations(self, container: Container, attached: list[Attached]) -> Iterator[Callable[[], None]]:
        """What is put back, each whether or not another cannot be."""

        def restore(network: Network, endpoint: Endpoint) -> None:
            self._networks.ensure(network.id, Caller(container.owner, container.owner))
            self._networks.driver(network).restore(network, endpoint)

        def serve_inside() -> None:
            with self._opened(container) as netns:
                self._names.serve_inside(container.id, netns)

        def publish() -> None:
            network, endpoint = self._door(attached)
            self._networks.driver(network).publish(network, endpoint, container.ports)

        for network, endpoint in attached:
            yield partial(restore, network, endpoint)
        if self._has_names_inside(attached):
            yield serve_inside
        if container.ports and attached:
            yield publish

    def _settled(self, container: Container) -> list[Attached]:
        """The container's places, the ones left of which its record does not tell."""
        attached = self._networks.endpoints_of(container.id)
        known = container.config.networking.networks
        rest = [pair for pair in attached if pair[0].name in known]
        self._leave(container, [pair for pair in attached if pair not in rest], rest)
        self._write_files(container, rest)
        return rest

    def _leave(self, container: Container, places: list[Attached], rest: list[Attached]) -> None:
        """Take a container from places of which its record does not tell; ``rest`` are those that it keeps."""
        leaving = Steps()
        for place in places:
            leaving.later("reserve address", partial(self._networks.release, place[1]))
            self._clear_one(replace(container, ports=()), *place, leaving)
        if self._has_names_inside(places) and not self._has_names_inside(rest):
            leaving.later("serve names inside", lambda: self._names.stop_inside(container.id))
        leaving.undo()

    def connect(self, container: Container, network: Network, attachment: Attachment) -> None:
        """One more network, from now on and at every later start."""
        networking = container.config.networking
        if networking.networks == ("host",) or networking.shared_with:
            whose = "another container's" if networking.shared_with else "the host's"
            raise Conflict(
                f"container {container.name!r} has {whose} network", "create it on a network of its own"
            )
        if network.name in networking.networks:
            raise Conflict(
                f"container {container.name!r} is on network {network.name!r} already",
                "to change its place there, disconnect it first",
            )
        changed = _with_networking(
            container,
            networks=(*(name for name in networking.networks if name not in BUILT_IN), network.name),
            attachments={**networking.attachments, network.name: attachment},
        )
        if container.status not in RUNNING:
            self._registry.change(container, config=changed.config)
            return
        attached = self._networks.endpoints_of(container.id)
        wanted = Wanted(container, _free_interface(attached), attachment)
        with Steps() as steps, self._opened(container) as netns:
            pair = self._reserve_one(container, network.name, wanted, steps)
            self._attach_one(changed, *pair, netns, steps)
            self._serve_inside(changed, [pair], netns, steps)
            self._rewire(changed, attached, [*attached, pair], steps)

    def disconnect(self, container: Container, network: Network) -> None:
        """One network less, from now on and at every later start."""
        networking = container.config.networking
        if network.name not in networking.networks:
            raise NotFound(
                f"container {container.name!r} is not on network {network.name!r}",
                f"it is on {', '.join(networking.networks)}",
            )
        left = tuple(name for name in networking.networks if name != network.name) or ("none",)
        kept = {name: item for name, item in networking.attachments.items() if name != network.name}
        first = networking.networks[0] == network.name
        own = {"address": "", "address6": "", "mac": ""} if first else {}
        changed = _with_networking(container, networks=left, attachments=kept, **own)
        if container.status not in RUNNING:
            self._registry.change(container, config=changed.config)
            return
        attached = self._networks.endpoints_of(container.id)
        pair = next((item for item in attached if item[0].id == network.id), None)
        rest = [item for item in attached if item is not pair]
        with Steps() as steps:
            self._rewire(changed, attached, rest, steps)
        self._leave(container, [pair] if pair is not None else [], rest)

    def _rewire(
        self, container: Container, before: list[Attached], after: list[Attached], steps: Steps
    ) -> None:
        """Files, published ports and record when a container's places have changed from ``before`` to ``after``."""
        ports = container.ports
        if ports and before and (not after or self._door(before) != self._door(after)):
            network, endpoint = self._door(before)
            driver = self._networks.driver(network)
            steps.do(
                "unpublish ports",
                lambda: driver.unpublish(network, endpoint, ports),
                lambda: driver.publish(network, endpoint, ports),
            )
            if after:
                self._publish_at(self._door(after), ports, steps)
        steps.do(
            "write network files",
            lambda: self._write_files(container, after),
            lambda: self._write_files(container, before),
        )
        self._registry.change(container, ports=ports if after else ())

    def forward(self, container: Container, wanted: tuple[PortMapping, ...]) -> tuple[PortMapping, ...]:
        """Publish further ports, from now on and at every later start; with every host port set."""
        old = container.config.networking.ports
        if container.config.networking.shared_with:
            raise Unsupported(
                f"container {container.name!r} uses another's network, which has the ports",
                "forward them to that container: `multios-container inspect` shows which (NetworkMode)",
            )
        if container.config.networking.networks[0] in BUILT_IN:
            raise Unsupported(
                f"network {container.config.networking.networks[0]!r} has no published ports",
                "create the container on another network",
            )
        for port in wanted:
            if port.host and not port.host_last and any(clash(port, other) for other in old):
                raise Conflict(
                    f"host port {port.host}/{port.protocol} is forwarded to container {container.name!r} already",
                    "take it away first with --remove",
                )
        attached = self._networks.endpoints_of(container.id)
        with Steps() as steps:
            ports = self.host_ports.choose(container, wanted)
            steps.later("choose ports", lambda: self.host_ports.forget(container))
            if container.status in RUNNING:
                self._publish_at(self._door(attached), ports, steps)
            changed = _with_networking(container, ports=(*old, *ports))
            running = (*container.ports, *ports) if container.status in RUNNING else container.ports
            self._registry.change(changed, ports=running)
        self.host_ports.forget(container)
        return ports

    def withdraw(self, container: Container, unwanted: tuple[PortMapping, ...]) -> tuple[PortMapping, ...]:
        """Publish ports no longer; what was taken away. ``NotFound`` for one that is not forwarded."""
        gone = tuple(_matching(container, port) for port in unwanted)
        attached = self._networks.endpoints_of(container.id)
        if attached and container.ports:
            network, endpoint = self._door(attached)
            self._networks.driver(network).unpublish(network, endpoint, gone)
        kept = tuple(
            port for port in container.config.networking.ports if not any(_means(port, item) for item in gone)
        )
        changed = _with_networking(container, ports=kept)
        self._registry.change(changed, ports=tuple(port for port in container.ports if port not in gone))
        return gone

    # --- names --------------------------------------------------------------------------------------

    def tell_names(self) -> None:
        """Tell the resolver all that it should know, and nothing else."""
        running = {item.id: item for item in self._registry.all() if item.status in RUNNING}
        self._names.replace_all(
            _named(container, network, endpoint)
            for container in running.values()
            if _is_found(container)
            for network, endpoint in self._networks.endpoints_of(container.id)
            if self._networks.has_names(network)
        )
        self._names.keep_inside(running)

    def tell_names_of(self, container: Container) -> None:
        """The container is called otherwise, or names lead to it again or no longer.

        A resolver that does not answer is no error: the one that comes after it is told everything.
        """
        for network, endpoint in self._networks.endpoints_of(container.id):
            if self._networks.has_names(network):
                try:
                    self._tell_name(container, network, endpoint)
                except MultiosError as error:
                    log.warning("names of container %s: %s", container.name, error.cause)

    def _tell_name(self, container: Container, network: Network, endpoint: Endpoint) -> None:
        if _is_found(container):
            self._names.put(_named(container, network, endpoint))
        else:
            self._names.remove(endpoint.id)

    def learned(self, endpoint_id: str, name: str, addresses: tuple[str, ...], seconds: int) -> None:
        """Let a confined endpoint reach what a name that it may ask for means."""
        found = self._networks.endpoint(endpoint_id)
        if found is None:
            raise NotFound(f"endpoint {endpoint_id[:12]} has gone", "")
        network, endpoint = found
        log.debug("%s may reach %s: %s", endpoint.address, name, ", ".join(addresses))
        self._networks.driver(network).permit(network, endpoint, addresses, max(seconds, _LONG_ENOUGH))

    # --- details ------------------------------------------------------------------------------------

    def _write_files(self, container: Container, attached: list[Attached]) -> None:
        resolvers = [network.gateway for network, _ in attached if self._networks.has_gateway(network)]
        if not resolvers and self._has_names_inside(attached):
            resolvers = [INSIDE]
        write_files(
            self._directory(container),
            container,
            [endpoint for _, endpoint in attached],
            resolvers,
            self._host_addresses(container, attached),
        )

    def _host_addresses(self, container: Container, attached: list[Attached]) -> list[str]:
        """The host's on the first of the container's networks where it has one; empty if nobody asks for it."""
        networking = container.config.networking
        if HOST_GATEWAY not in networking.extra_hosts.values():
            return []
        if networking.networks == ("host",):
            return ["127.0.0.1"]
        for network, _ in attached:
            if self._networks.has_gateway(network):
                return [address for address in (network.gateway, network.gateway6) if address]
        raise Unsupported(
            f"{HOST_GATEWAY}: the host has no address on {_networks_and_drivers(attached)}",
            "use a bridge network, or write an address of the host's that is reached from there",
        )

    def _has_names_inside(self, attached: list[Attached]) -> bool:
        return any(self._networks.has_names_inside(network) for network, _ in attached)

    def open_namespace(self, container_id: str) -> int:
        """A running container's network namespace, surely its own: its process is there when it has been opened."""
        container = self._registry.current(container_id)
        process, netns = self._open_process(container), -1
        try:
            netns = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            signal.pidfd_send_signal(process, 0)
        except OSError:
            if netns >= 0:
                os.close(netns)
            raise Conflict(f"container {container.name!r} has just ended", "try again") from None
        finally:
            os.close(process)
        return netns

    @contextmanager
    def _opened(self, container: Container) -> Iterator[int]:
        netns = self.open_namespace(container.id)
        try:
            yield netns
        finally:
            os.close(netns)


def _networks_and_drivers(attached: list[Attached]) -> str:
    places = [f"network {network.name!r} ({network.driver})" for network, _ in attached]
    return ", ".join(places) or "network 'none'"


def _failure_of(action: Callable[[], None]) -> MultiosError | None:
    try:
        action()
    except MultiosError as error:
        return error
    return None


def _wanted(networking: Networking, name: str, number: int) -> Attachment:
    own = networking.attachments.get(name, Attachment())
    if number:
        return own
    return replace(
        own,
        address=own.address or networking.address,
        address6=own.address6 or networking.address6,
        mac=own.mac or networking.mac,
    )


def _with_networking(container: Container, **fields: Any) -> Container:
    networking = replace(container.config.networking, **fields)
    return replace(container, config=replace(container.config, networking=networking))


def _free_interface(attached: list[Attached]) -> str:
    used = {endpoint.interface for _, endpoint in attached}
    return next(name for number in range(len(used) + 1) if (name := f"eth{number}") not in used)


def _is_found(container: Container) -> bool:
    """Whether names lead to a container that has places on networks: it is there to answer."""
    return container.status != Status.PAUSED


def _named(container: Container, network: Network, endpoint: Endpoint) -> NamedEndpoint:
    networking = container.config.networking
    own = networking.attachments.get(network.name, Attachment())
    names = [container.name, container.id[:12], container.config.hostname, *networking.aliases, *own.aliases]
    allowed = confinement(network, container)
    return NamedEndpoint(
        endpoint_id=endpoint.id,
        network_id=network.id,
        addresses=tuple(text.partition("/")[0] for text in (endpoint.address, endpoint.address6) if text),
        names=tuple(dict.fromkeys(name for name in names if name)),
        owner=container.owner,
        container_id=container.id,
        # Who is confined by the network must not choose who says where the allowed names lead.
        upstream=() if network.egress else networking.dns,
        outside=not network.internal,
        domains=destination.domains(allowed) if allowed else None,
    )


def _matching(container: Container, wanted: PortMapping) -> PortMapping:
    """The published port that is meant."""
    for port in container.ports or container.config.networking.ports:
        if _means(wanted, port):
            return port
    raise NotFound(
        f"container {container.name!r} has no forward {wanted.host or ''}:{wanted.container}/{wanted.protocol}",
        f"see `multios-container port {container.name}`",
    )


def _means(wanted: PortMapping, port: PortMapping) -> bool:
    """Whether ``port`` is what ``wanted`` names: what it leaves open may be anything."""
    same_address = not wanted.address or (
        bool(port.address) and ipaddress.ip_address(wanted.address) == ipaddress.ip_address(port.address)
    )
    return (
        (wanted.container, wanted.protocol) == (port.container, port.protocol)
        and (not wanted.host or wanted.host <= port.host <= max(wanted.host, wanted.host_last))
        and same_address
    )
