"""A container's place on the bridge: one veth pair, its peer made inside the container's namespace.

This runs at every start, so it speaks rtnetlink(7) itself: 4 system calls to the kernel for 7 changes.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from multios.errors import Conflict, StepFailed, Unsupported
from multios.model.network import Endpoint, Network
from multios.netlink import container_side
from multios.netlink.container_side import DefaultRoute
from multios.netlink.interfaces import (
    GET_ADDRESS,
    INFO,
    LINK,
    MAC,
    MASTER,
    MTU,
    NAME,
    NAMESPACE,
    NEW_LINK,
    NEW_NEIGHBOUR,
    PROTOCOL,
    UP,
    Link,
    find_link,
    has_namespace,
    mac_bytes,
    remove_link,
)
from multios.netlink.messages import (
    F_ACK,
    F_CREATE,
    F_EXCLUSIVE,
    F_REPLACE,
    Connection,
    Message,
    attribute,
    attributes,
    nested,
    text,
    unsigned,
)
from multios.netlink.namespaces import write_setting
from multios_net_bridge import rates

_PORT_KIND, _PORT_DATA = 4, 5  # within INFO
_HAIRPIN, _LEARNING, _FORWARDED_GROUPS, _ISOLATED = 4, 8, 31, 33
# Frames for 01:80:c2:00:00:0x else go to the host around the guard, and move addresses to their port (IEEE 802.1D, 7.12.6).
# All but pause frames, which the kernel drops.
_ALL_GROUPS = 0xFFFD
_READY_WITHIN = 2.0  # seconds
_TAKEN_ATTEMPTS = 5
# A netlink socket keeps its namespace for an RCU grace period after it is closed, up to 24 ms on an idle
# host: so long may a container that exits at once seem to live.
_DYING_WITHIN = 0.06


@dataclass(frozen=True, slots=True)
class Port:
    """How a container's end is a port of the bridge."""

    isolated: bool
    """It reaches no other such port."""
    guarded: bool
    """Who is behind it is known, so nothing is learned from what it sends."""

    def attributes(self) -> list[bytes]:
        """As the kernel has them (linux/if_link.h, IFLA_BRPORT_…)."""
        return [
            attribute(_HAIRPIN, b"\1"),
            attribute(_LEARNING, bytes([not self.guarded])),
            attribute(_ISOLATED, bytes([self.isolated])),
            attribute(_FORWARDED_GROUPS, struct.pack("=H", _ALL_GROUPS)),
        ]


class Veths:
    """Veth pairs between the namespace of the thread that makes this object and containers."""

    def __init__(self) -> None:
        self._host = Connection(PROTOCOL)
        # Every change of a link waits for one lock of the kernel's, and writing to /proc/sys does so by trying again and
        # again: starts side by side would take the processors from whoever has the lock.
        self._one_at_a_time = threading.Lock()

    def close(self) -> None:
        """Close the netlink socket; the links stay."""
        self._host.close()

    def attach(self, network: Network, endpoint: Endpoint, netns: int, mtu: int, port: Port) -> None:
        """Make the pair and everything on it; on return packets pass. A failure leaves no pair."""
        bridge = find_link(self._host, network.interface)
        if bridge is None:
            raise StepFailed(
                f"attach to network {network.name!r}",
                f"the bridge {network.interface} is missing",
                "restart the daemon: it makes networks whole",
            )
        with self._one_at_a_time:
            self._make_pair(bridge, endpoint, netns, mtu)
            with self._removed_on_failure(network, endpoint):
                container_side.configure(
                    endpoint, netns, _default_route(network), lambda index: _sending_limits(endpoint, index)
                )
                self._join(endpoint, port)
        with self._removed_on_failure(network, endpoint):
            self._wait_until_passing(bridge, endpoint)

    @contextmanager
    def _removed_on_failure(self, network: Network, endpoint: Endpoint) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._remove(endpoint.host_interface)
            if isinstance(error, OSError):
                is_limited = endpoint.bandwidth_in or endpoint.bandwidth_out
                if is_limited and error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                    raise Unsupported(
                        "this kernel cannot limit bandwidth: it has no tbf",
                        "load the module with `modprobe sch_tbf`, or leave out --bandwidth",
                    ) from error
                raise _failed(network, error) from error
            raise

    def restore(self, network: Network, endpoint: Endpoint, port: Port) -> None:
        """Put an endpoint's end of the pair on the bridge again, which another program may have removed or emptied."""
        bridge, outer = (find_link(self._host, name) for name in (network.interface, endpoint.host_interface))
        if bridge is None or outer is None:
            what = f"bridge {network.interface}" if bridge is None else "the container's link"
            remedy = "run `multios-container network repair`" if bridge is None else "restart the container"
            raise StepFailed(f"restore a place on network {network.name!r}", f"{what} is gone", remedy)
        if outer.master != bridge.index:
            parts = LINK.pack(0, 0, outer.index, 0, 0) + unsigned(MASTER, bridge.index)
            self._host.request([Message(NEW_LINK, F_ACK, parts)])
        self._join(endpoint, port)
        self._wait_until_passing(bridge, endpoint)

    def detach(self, endpoint: Endpoint) -> None:
        """Remove the pair, unless it is gone or its namespace is: then the kernel removes it by itself.

        An explicit removal waits some 20 ms and keeps every other change of links waiting too, so a
        namespace that is just dying is given ``_DYING_WITHIN`` seconds.
        """
        deadline = time.monotonic() + _DYING_WITHIN
        while True:
            link = find_link(self._host, endpoint.host_interface)
            if link is None or link.kind != "veth" or not _peer_lives(self._host, link):
                return
            if time.monotonic() > deadline:
                remove_link(self._host, link.index)
                return
            time.sleep(0.004)

    def has(self, endpoint: Endpoint) -> bool:
        """Whether there is an interface of the endpoint's name on the host."""
        return find_link(self._host, endpoint.host_interface) is not None

    def faults(self, network: Network, endpoint: Endpoint, netns: int) -> list[str]:
        """What is not as :meth:`attach` left it."""
        faults = []
        bridge = find_link(self._host, network.interface)
        outer = find_link(self._host, endpoint.host_interface)
        if bridge is None or not bridge.up:
            faults.append(f"bridge {network.interface} is missing or down")
        if outer is None or not outer.up:
            faults.append(f"interface {endpoint.host_interface} of the host is missing or down")
        elif bridge is not None and outer.master != bridge.index:
            faults.append(f"interface {endpoint.host_interface} is not on bridge {network.interface}")
        return faults + container_side.faults(endpoint, netns, _default_route(network))

    def host_addresses(self) -> set[bytes]:
        """The host's own addresses of both families, packed."""
        query = Message(GET_ADDRESS, 0, struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0))
        said = [attributes(reply[8:]) for reply in self._host.dump(query)]
        return {fields.get(2) or fields.get(1, b"") for fields in said}  # IPv6 has no local one apart

    # --- steps ----------------------------------------------------------------------------------

    def _make_pair(self, bridge: Link, endpoint: Endpoint, netns: int, mtu: int) -> None:
        peer = LINK.pack(0, 0, 0, 0, 0) + text(NAME, endpoint.interface)
        peer += attribute(MAC, mac_bytes(endpoint.mac)) + unsigned(MTU, mtu) + unsigned(NAMESPACE, netns)
        message = Message(
            NEW_LINK,
            F_ACK | F_CREATE | F_EXCLUSIVE,
            LINK.pack(0, 0, 0, 0, 0)
            + text(NAME, endpoint.host_interface)
            + unsigned(MTU, mtu)
            + unsigned(MASTER, bridge.index)
            + nested(INFO, text(1, "veth"), nested(2, nested(1, peer))),
        )
        for _ in range(_TAKEN_ATTEMPTS):
            try:
                self._host.request([message])
                return
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise StepFailed(
                        "make the veth pair", error.strerror or str(error), _remedy(error)
                    ) from error
            self._clear_way(endpoint)
        raise Conflict(f"the host's interface {endpoint.host_interface} does not go away", "try again")

    def _clear_way(self, endpoint: Endpoint) -> None:
        """Remove what bears the host interface's name if its container is dead, else raise ``Conflict``."""
        link = find_link(self._host, endpoint.host_interface)
        if link is None:
            with_name = f"the container already has an interface {endpoint.interface!r}"
            raise Conflict(with_name, "disconnect it first, or use another interface name")
        if link.kind != "veth" or _peer_lives(self._host, link):
            raise Conflict(
                f"the host already has an interface {endpoint.host_interface!r}",
                f"if nothing uses it: ip link delete {endpoint.host_interface}",
            )
        remove_link(self._host, link.index)

    def _join(self, endpoint: Endpoint, port: Port) -> None:
        """Set up the host's end as a port of the bridge."""
        # What a bridge does not forward comes in by its port: the host has no IPv6 there that would heed it.
        write_setting(f"ipv6/conf/{endpoint.host_interface}/disable_ipv6", "1")
        outer = find_link(self._host, endpoint.host_interface)
        if outer is None:
            raise OSError(errno.ENODEV, f"{endpoint.host_interface} vanished")
        port_settings = nested(INFO, text(_PORT_KIND, "bridge"), nested(_PORT_DATA, *port.attributes()))
        # A dead container's port may still be there with the same MAC: say that it lives here now.
        # State static (NUD_NOARP), for the bridge that the port is on (NTF_MASTER).
        neighbour = struct.pack("=BxxxiHBB", socket.AF_BRIDGE, outer.index, 0x40, 0x4, 0)
        neighbour += attribute(2, mac_bytes(endpoint.mac))
        messages = [
            Message(NEW_LINK, F_ACK, LINK.pack(0, 0, outer.index, UP, UP) + port_settings),
            Message(NEW_NEIGHBOUR, F_ACK | F_CREATE | F_REPLACE, neighbour),
        ]
        if endpoint.bandwidth_in:
            messages.append(rates.limit(outer.index, endpoint.bandwidth_in))
        self._host.request(messages)

    def _wait_until_passing(self, bridge: Link, endpoint: Endpoint) -> None:
        """Wait until packets pass the port."""
        self._wait_until_operational(endpoint.host_interface)
        if not bridge.operational:
            self._wait_until_operational(str(bridge.index))

    def _wait_until_operational(self, name: str) -> None:
        """Wait until the kernel lets packets through; since 6.8 asking makes it do so at once."""
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            link = find_link(self._host, name)
            if link is not None and link.operational:
                return
            if link is None or time.monotonic() > deadline:
                raise OSError(errno.ENETDOWN, f"interface {name} does not come up")
            time.sleep(0.0005)

    # --- ends -----------------------------------------------------------------------------------

    def _remove(self, name: str) -> None:
        link = find_link(self._host, name)
        if link is not None:
            remove_link(self._host, link.index)


def _default_route(network: Network) -> DefaultRoute:
    return DefaultRoute.NONE if network.internal else DefaultRoute.GATEWAY


def _sending_limits(endpoint: Endpoint, index: int) -> list[Message]:
    return [rates.limit(index, endpoint.bandwidth_out)] if endpoint.bandwidth_out else []


def _peer_lives(connection: Connection, link: Link) -> bool:
    return link.peer_namespace >= 0 and has_namespace(connection, link.peer_namespace)


def _failed(network: Network, error: OSError) -> StepFailed:
    return StepFailed(f"attach to network {network.name!r}", error.strerror or str(error), _remedy(error))


def _remedy(error: OSError) -> str:
    if error.errno == errno.EOPNOTSUPP:
        return "this kernel has no veth links: load the module with `modprobe veth`"
    if error.errno in (errno.EXFULL, errno.ENOBUFS):
        return "a bridge holds 1023 containers: make another network"
    return "run `multios-container doctor`"
