"""Containers that use the network namespace of another, and its user namespace, which owns that: which, and whether they may.

A network namespace belongs to a user namespace (user_namespaces(7)): who is root in another one may neither change it nor
listen on its low ports. So both are shared.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from multios.drivers.base import Capability
from multios.engine.caller import Caller
from multios.engine.drivers import Drivers
from multios.engine.registry import RUNNING, Registry
from multios.errors import Conflict, InvalidInput, NotFound, Refused, Unsupported
from multios.model.container import OF_CONTAINER, Container, ContainerConfig


class NetworkSharing:
    """Who shares with whom. ``open_process`` gives a pidfd of a running container's first process."""

    def __init__(
        self, registry: Registry, drivers: Drivers, open_process: Callable[[Container], int]
    ) -> None:
        self._registry, self._drivers, self._open_process = registry, drivers, open_process

    def resolved(
        self, config: ContainerConfig, caller: Caller, wants_own_ids: Callable[[ContainerConfig], bool]
    ) -> ContainerConfig:
        """The request with the other container's id; raises what keeps it from being shared with. Others are unchanged."""
        ref = config.networking.shared_with
        if not ref:
            return config
        other = self._registry.find(ref, caller)
        if other.owner != caller.uid:
            raise Refused(
                f"container {ref!r} is another user's, and containers share a network with their owner's only",
                "name one of the same owner",
            )
        _check_shareable(other)
        if config.security.user_namespace not in ("auto", "host"):
            raise InvalidInput(
                f"security.user_namespace: it has the ids of container {ref!r}, whose network it uses",
                "leave it out",
            )
        if other.id_map is None and wants_own_ids(config):
            raise Unsupported(
                f"container {ref!r} has no user namespace, and who uses its network has none either",
                "add --userns host, if you may",
            )
        for driver in (self._drivers.isolation_named(config), self._drivers.isolation(other)):
            if Capability.SHARED_NETWORK not in driver.capabilities:
                raise Unsupported(
                    f"isolation driver {driver.name!r} does not share a network between containers",
                    "use --isolation ns for both",
                )
        return replace(config, networking=replace(config.networking, networks=(OF_CONTAINER + other.id,)))

    def other(self, container: Container) -> Container | None:
        """The container whose network one uses; ``None`` where it has its own, ``NotFound`` when that one is gone."""
        other_id = container.config.networking.shared_with
        if not other_id:
            return None
        other = self._registry.get(other_id)
        if other is None or other.removing:
            raise NotFound(
                f"container {container.name!r} uses the network of container {other_id[:12]}, which is gone",
                "delete it, and create it again with another",
            )
        return other

    def running_with(self, container: Container) -> list[Container]:
        """The running containers that use this one's network."""
        return [
            item
            for item in self._registry.all()
            if item.config.networking.shared_with == container.id and item.status in RUNNING
        ]

    def paths(self, container: Container) -> dict[str, str]:
        """By kind, where the namespaces are that a container shares; of one that could not start now, where they would be."""
        if not (other_id := container.config.networking.shared_with):
            return {}
        other = self._registry.get(other_id)
        pid = other.pid if other is not None and other.pid else "PID"
        kinds = {"network": "net", **({"user": "user"} if container.id_map is not None else {})}
        return {kind: f"/proc/{pid}/ns/{file}" for kind, file in kinds.items()}

    @contextmanager
    def opened(self, container: Container) -> Iterator[Mapping[str, int]]:
        """Descriptors of these namespaces; ``Conflict`` when the other container has just ended."""
        other = self.other(container)
        with ExitStack() as closing:
            found: dict[str, int] = {}
            if other is not None:
                process = self._open_process(other)
                closing.callback(os.close, process)
                try:
                    for kind, path in self.paths(container).items():
                        found[kind] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                        closing.callback(os.close, found[kind])
                    signal.pidfd_send_signal(process, 0)
                except OSError:
                    raise Conflict(f"container {other.name!r} has just ended", "try again") from None
            yield found


def _check_shareable(other: Container) -> None:
    networking = other.config.networking
    if networking.shared_with:
        raise InvalidInput(
            f"container {other.name!r} uses the network of another one itself",
            f"name that one: container:{networking.shared_with[:12]}",
        )
    if networking.networks == ("host",):
        raise InvalidInput(f"container {other.name!r} has the host's network", "use --network host")
