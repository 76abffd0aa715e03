"""The host's ports that containers are published on: chosen, and never given twice."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from collections.abc import Iterable
from dataclasses import replace

from multios.engine.registry import Registry
from multios.errors import Conflict, InvalidInput
from multios.model.container import Container
from multios.model.network import PortMapping

_FREE = range(32768, 61000)
_WILDCARDS = ("", "0.0.0.0", "::")


class HostPorts:
    """Ports that are taken: those of records, and those chosen for starts that no record tells of yet."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self.chosen: dict[str, tuple[PortMapping, ...]] = {}

    def choose(self, container: Container, wanted: tuple[PortMapping, ...]) -> tuple[PortMapping, ...]:
        """The mappings with every host port set, reserved until :meth:`forget`; a taken one raises ``Conflict``."""
        with self._lock:
            published = {other.id: other.ports for other in self._registry.all(removing=True)}
            taken = [ports for holder, ports in published.items() if holder != container.id]
            taken += self.chosen.values()
            ports = choose_ports(wanted, [port for ports in taken for port in ports])
            self.chosen[container.id] = ports
        return ports

    def forget(self, container: Container) -> None:
        """The record tells of them now, or they are not used."""
        with self._lock:
            self.chosen.pop(container.id, None)


def choose_ports(wanted: tuple[PortMapping, ...], in_use: Iterable[PortMapping]) -> tuple[PortMapping, ...]:
    """The mappings with every host port set; one that is taken raises ``Conflict``."""
    chosen: list[PortMapping] = []
    taken = list(in_use)
    for port in wanted:
        made = port if port.host and not port.host_last else _with_free_port(port, taken)
        if any(clash(made, other) for other in taken) or not _can_bind(made):
            raise Conflict(f"host port {made.host}/{made.protocol} is in use", "choose another host port")
        taken.append(made)
        chosen.append(made)
    return tuple(chosen)


def clash(one: PortMapping, other: PortMapping) -> bool:
    """Whether two mappings want one port of the host; those on different addresses do not."""
    if (one.protocol, one.host) != (other.protocol, other.host):
        return False
    if "" in (one.address, other.address) or one.address == other.address:
        return True
    if _family(one) != _family(other):
        return False
    return one.address in _WILDCARDS or other.address in _WILDCARDS


def _with_free_port(port: PortMapping, taken: list[PortMapping]) -> PortMapping:
    used = {other.host for other in taken if other.protocol == port.protocol}
    for candidate in range(port.host, port.host_last + 1) if port.host_last else _FREE:
        if candidate not in used and _can_bind(made := replace(port, host=candidate, host_last=0)):
            return made
    if port.host_last:
        raise Conflict(
            f"host ports {port.host}-{port.host_last}/{port.protocol} are all in use", "choose another range"
        )
    raise Conflict("no free host port", "free one, or name a host port yourself")


def _can_bind(port: PortMapping) -> bool:
    if port.protocol == "sctp":  # the kernel may have no such sockets, and forwards it all the same
        return True
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(_family(port), kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((port.address or "0.0.0.0", port.host))
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EINVAL):  # the latter: an address of a link, without it
            raise InvalidInput(
                f"{port.address} is no address of this host", "leave it out for all addresses"
            ) from error
        return False
    return True


def _family(port: PortMapping) -> socket.AddressFamily:
    is_six = bool(port.address) and ipaddress.ip_address(port.address).version == 6
    return socket.AF_INET6 if is_six else socket.AF_INET
