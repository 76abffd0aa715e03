"""A container's place on the bridge: one veth pair, its peer made inside the container's namespace.

This runs at every start, so it speaks rtnetlink(7) itself: 4 system calls to the kernel for 7 changes.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv4Interface

from multios.errors import Conflict, StepFailed, Unsupported
from multios.model.network import Endpoint, Network
from multios_net_bridge import rates
from multios_net_bridge.namespaces import inside, write_setting
from multios_net_bridge.netlink import (
    F_ACK,
    F_APPEND,
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

PROTOCOL = 0  # NETLINK_ROUTE
NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, GET_ADDRESS, NEW_ROUTE, GET_ROUTE, NEW_NEIGHBOUR = 20, 22, 24, 26, 28

_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_UP = 1
_MAC, _NAME, _MTU, _MASTER, _OPERATION, _INFO, _NAMESPACE = 1, 3, 4, 10, 16, 18, 28
_PEER_NAMESPACE, _TARGET_NAMESPACE = 37, 46
_OPERATIONAL = 6  # IF_OPER_UP
_READY_WITHIN = 2.0  # seconds
_TAKEN_ATTEMPTS = 5
# A netlink socket keeps its namespace for an RCU grace period after it is closed, up to 24 ms on an idle
# host: so long may a container that exits at once seem to live.
_DYING_WITHIN = 0.06


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel says of an interface; ``peer_namespace`` is its number for the peer's, −1 for none."""

    index: int
    up: bool
    kind: str
    mac: str
    master: int
    operational: bool
    peer_namespace: int


class Veths:
    """Veth pairs between the namespace of the thread that makes this object and containers."""

    def __init__(self) -> None:
        self._host = Connection(PROTOCOL)

    def close(self) -> None:
        """Close the netlink socket; the links stay."""
        self._host.close()

    def attach(self, network: Network, endpoint: Endpoint, netns: int, mtu: int, isolate: bool) -> None:
        """Make the pair and everything on it; on return packets pass. A failure leaves no pair."""
        bridge = find_link(self._host, network.interface)
        if bridge is None:
            raise StepFailed(
                f"attach to network {network.name!r}",
                f"the bridge {network.interface} is missing",
                "restart the daemon: it makes networks whole",
            )
        self._make_pair(bridge, endpoint, netns, mtu)
        try:
            self._configure_inside(network, endpoint, netns)
            self._join(bridge, endpoint, isolate)
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

    def detach(self, endpoint: Endpoint) -> None:
        """Remove the pair, unless it is gone or its namespace is: then the kernel removes it by itself.

        An explicit removal waits some 20 ms and keeps every other change of links waiting too, so a
        namespace that is just dying is given ``_DYING_WITHIN`` seconds.
        """
        deadline = time.monotonic() + _DYING_WITHIN
        while True:
            link = find_link(self._host, endpoint.host_interface)
            if link is None or link.kind != "veth" or not self._peer_lives(link):
                return
            if time.monotonic() > deadline:
                self._remove_index(link.index)
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
        connection = _connect(netns)
        try:
            faults += _faults_inside(connection, network, endpoint)
        finally:
            connection.close()
        return faults

    def host_addresses(self) -> set[bytes]:
        """The host's own IPv4 addresses, packed."""
        query = Message(GET_ADDRESS, 0, struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0))
        return {attributes(reply[8:]).get(2, b"") for reply in self._host.dump(query)}

    # --- steps ----------------------------------------------------------------------------------

    def _make_pair(self, bridge: Link, endpoint: Endpoint, netns: int, mtu: int) -> None:
        peer = _LINK.pack(0, 0, 0, 0, 0) + text(_NAME, endpoint.interface)
        peer += attribute(_MAC, _mac_bytes(endpoint.mac)) + unsigned(_MTU, mtu) + unsigned(_NAMESPACE, netns)
        message = Message(
            NEW_LINK,
            F_ACK | F_CREATE | F_EXCLUSIVE,
            _LINK.pack(0, 0, 0, _UP, _UP)
            + text(_NAME, endpoint.host_interface)
            + unsigned(_MTU, mtu)
            + unsigned(_MASTER, bridge.index)
            + nested(_INFO, text(1, "veth"), nested(2, nested(1, peer))),
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
        if link.kind != "veth" or self._peer_lives(link):
            raise Conflict(
                f"the host already has an interface {endpoint.host_interface!r}",
                f"if nothing uses it: ip link delete {endpoint.host_interface}",
            )
        self._remove_index(link.index)

    def _configure_inside(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        with inside(netns):
            # The network is IPv4: without this the container would take routes from any neighbour's
            # router advertisement.
            write_setting(f"ipv6/conf/{endpoint.interface}/disable_ipv6", "1")
            index = socket.if_nametoindex(endpoint.interface)
            connection = Connection(PROTOCOL)
        try:
            own = IPv4Interface(endpoint.address)
            address = struct.pack("=BBBBI", socket.AF_INET, own.network.prefixlen, 0, 0, index)
            address += attribute(1, own.ip.packed) + attribute(2, own.ip.packed)
            address += attribute(4, own.network.broadcast_address.packed)
            messages = [
                Message(NEW_ADDRESS, F_ACK | F_CREATE | F_EXCLUSIVE, address),
                Message(NEW_LINK, F_ACK, _LINK.pack(0, 0, index, _UP, _UP)),
            ]
            if not network.internal:
                messages.append(_default_route(endpoint.gateway, index))
            if endpoint.bandwidth_out:
                messages.append(rates.limit(index, endpoint.bandwidth_out))
            connection.request(messages)
        finally:
            connection.close()

    def _join(self, bridge: Link, endpoint: Endpoint, isolate: bool) -> None:
        outer = find_link(self._host, endpoint.host_interface)
        if outer is None:
            raise OSError(errno.ENODEV, f"{endpoint.host_interface} vanished")
        # Hairpin mode (4) and isolated (33) of a bridge port.
        port = [attribute(4, b"\1")] + ([attribute(33, b"\1")] if isolate else [])
        port_settings = nested(_INFO, text(4, "bridge"), nested(5, *port))
        # A dead container's port may still be there with the same MAC: say that it lives here now.
        # State static (NUD_NOARP), for the bridge that the port is on (NTF_MASTER).
        neighbour = struct.pack("=BxxxiHBB", socket.AF_BRIDGE, outer.index, 0x40, 0x4, 0)
        neighbour += attribute(2, _mac_bytes(endpoint.mac))
        messages = [
            Message(NEW_LINK, F_ACK, _LINK.pack(0, 0, outer.index, 0, 0) + port_settings),
            Message(NEW_NEIGHBOUR, F_ACK | F_CREATE | F_REPLACE, neighbour),
        ]
        if endpoint.bandwidth_in:
            messages.append(rates.limit(outer.index, endpoint.bandwidth_in))
        self._host.request(messages)
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

    def _peer_lives(self, link: Link) -> bool:
        if link.peer_namespace < 0:
            return False
        query = _LINK.pack(0, 0, 1, 0, 0) + unsigned(_TARGET_NAMESPACE, link.peer_namespace)
        try:
            self._host.request([Message(GET_LINK, 0, query)])
        except OSError as error:
            if error.errno == errno.EINVAL:
                return False  # the number names no namespace any more
            raise
        return True

    def _remove(self, name: str) -> None:
        link = find_link(self._host, name)
        if link is not None:
            self._remove_index(link.index)

    def _remove_index(self, index: int) -> None:
        try:
            self._host.request([Message(DELETE_LINK, F_ACK, _LINK.pack(0, 0, index, 0, 0))])
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


def find_link(connection: Connection, name: str) -> Link | None:
    """The interface of that name, or index when the name is a number."""
    index = int(name) if name.isdecimal() else 0
    query = _LINK.pack(0, 0, index, 0, 0) + (b"" if index else text(_NAME, name))
    try:
        replies = connection.request([Message(GET_LINK, 0, query)])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    _, _, index, flags, _ = _LINK.unpack_from(replies[0])
    fields = attributes(replies[0][_LINK.size :])
    information = attributes(fields.get(_INFO, b""))
    return Link(
        index=index,
        up=bool(flags & _UP),
        kind=information.get(1, b"").rstrip(b"\0").decode(),
        mac=fields.get(_MAC, b"").hex(":"),
        master=int.from_bytes(fields.get(_MASTER, b""), "little"),
        operational=fields.get(_OPERATION) == bytes([_OPERATIONAL]),
        peer_namespace=struct.unpack("=i", fields.get(_PEER_NAMESPACE, b"\xff\xff\xff\xff"))[0],
    )


def _connect(netns: int) -> Connection:
    with inside(netns):
        return Connection(PROTOCOL)


def _default_route(gateway: str, index: int) -> Message:
    # Table main, protocol static, scope universe, unicast. Appended, not exclusive: a container on two
    # networks has two, and the second serves when the first network is left.
    route = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0)
    route += attribute(5, socket.inet_aton(gateway)) + unsigned(4, index)
    return Message(NEW_ROUTE, F_ACK | F_CREATE | F_APPEND, route)


def _faults_inside(connection: Connection, network: Network, endpoint: Endpoint) -> list[str]:
    link = find_link(connection, endpoint.interface)
    if link is None:
        return [f"interface {endpoint.interface} is missing in the container"]
    faults = []
    if not link.up:
        faults.append(f"interface {endpoint.interface} is down in the container")
    if link.mac != endpoint.mac.lower():
        faults.append(f"interface {endpoint.interface} has MAC {link.mac}, not {endpoint.mac}")
    addresses = connection.dump(Message(GET_ADDRESS, 0, struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)))
    if not any(_is_address(reply, endpoint, link.index) for reply in addresses):
        faults.append(f"address {endpoint.address} is missing in the container")
    if not network.internal:
        query = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        if not any(
            _is_default(reply, endpoint.gateway) for reply in connection.dump(Message(GET_ROUTE, 0, query))
        ):
            faults.append(f"the default route by {endpoint.gateway} is missing in the container")
    return faults


def _is_address(reply: bytes, endpoint: Endpoint, index: int) -> bool:
    own = IPv4Interface(endpoint.address)
    prefix, on = struct.unpack_from("=xBxxI", reply)
    return (prefix, on, attributes(reply[8:]).get(2)) == (own.network.prefixlen, index, own.ip.packed)


def _is_default(reply: bytes, gateway: str) -> bool:
    return reply[1] == 0 and attributes(reply[12:]).get(5) == socket.inet_aton(gateway)


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _failed(network: Network, error: OSError) -> StepFailed:
    return StepFailed(f"attach to network {network.name!r}", error.strerror or str(error), _remedy(error))


def _remedy(error: OSError) -> str:
    if error.errno == errno.EOPNOTSUPP:
        return "this kernel has no veth links: load the module with `modprobe veth`"
    if error.errno in (errno.EXFULL, errno.ENOBUFS):
        return "a bridge holds 1023 containers: make another network"
    return "run `multios-container doctor`"
