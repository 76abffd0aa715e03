"""Containers' interfaces that are children of one of the host's: macvlan, ipvlan and the like.

Nothing on the host bears the name of such an interface, so where each is, is kept in a file an endpoint: the number that
the container's namespace has on the host, and the interface's there. Neither is the container's to choose, as names are.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from multios.errors import Conflict, InvalidInput, NotFound, StepFailed, Unsupported
from multios.model.network import Endpoint, Network
from multios.netlink import container_side, interfaces
from multios.netlink.container_side import DefaultRoute
from multios.netlink.interfaces import LINK, Link, find_link, mac_bytes, remove_link
from multios.netlink.messages import (
    F_ACK,
    F_CREATE,
    F_EXCLUSIVE,
    Connection,
    Message,
    attribute,
    attributes,
    nested,
    text,
    unsigned,
)
from multios.netlink.namespaces import in_new_namespace

_NEW_NUMBER, _GET_NUMBER = 88, 90
_NUMBER, _BY_DESCRIPTOR = 1, 3
_HEAD = struct.pack("=Bxxx", socket.AF_UNSPEC)
_ANY = -1

_ENDPOINT_ID = re.compile(r"[0-9a-f]{1,64}")
_LONGEST_NAME = 15
# What a container that has just ended leaves in use.
_STILL_TAKEN = (errno.EBUSY, errno.EADDRINUSE)
_FREE_WITHIN = 2.0  # seconds
# A container that exits seems to live for so long: a socket keeps its namespace for an RCU grace period.
_DYING_WITHIN = 0.06


@dataclass(frozen=True, slots=True)
class Child:
    """How an interface is made: the kernel's kind of link, its attributes by number, whether it has a MAC of its own."""

    kind: str
    data: Mapping[int, bytes]
    default_route: DefaultRoute = DefaultRoute.GATEWAY
    own_mac: bool = True
    mtu: int = 0
    """0 is the parent's."""
    alone: bool = False
    """The parent takes no other child beside it."""

    @property
    def taken(self) -> tuple[int, ...]:
        """The errors by which the kernel says that parent or MAC are still in use."""
        return (*_STILL_TAKEN, errno.EINVAL) if self.alone else _STILL_TAKEN


class ChildLinks:
    """Children of interfaces in the namespace of the thread that makes this object. ``places`` is a directory."""

    def __init__(self, places: Path) -> None:
        self._places = places
        self._host = Connection(interfaces.PROTOCOL)

    def close(self) -> None:
        """Close the netlink socket; the links stay."""
        self._host.close()

    def parent(self, network: Network, name: str) -> Link:
        """The parent of that name, or the interface by which the host's default route leaves; raises ``NotFound``."""
        chosen = name or self._way_out()
        is_name = 0 < len(chosen) <= _LONGEST_NAME and not name.isdecimal()
        link = find_link(self._host, chosen) if is_name else None
        if link is None:
            cause = f"the host has no interface {name!r}" if name else "the host has no default route"
            raise NotFound(
                f"network {network.name!r} has no parent: {cause}", "name an interface with --opt parent=NAME"
            )
        return link

    def attach(self, network: Network, endpoint: Endpoint, netns: int, parent: Link, child: Child) -> None:
        """Make the interface inside the namespace, with addresses and routes. A failure leaves nothing."""
        place = self._place(endpoint)
        number = self._number(netns)
        place.write_text(f"{number} 0")
        deadline = time.monotonic() + _FREE_WITHIN
        while True:
            try:
                index = self._attach(endpoint, netns, number, parent, child)
                place.write_text(f"{number} {index}")
                return
            except OSError as error:
                if error.errno not in child.taken or time.monotonic() > deadline:
                    place.unlink(missing_ok=True)
                    raise _failed(network, endpoint, parent, child, error) from error
            time.sleep(0.005)

    def detach(self, endpoint: Endpoint) -> None:
        """Remove the interface, unless it goes with its namespace; an unknown endpoint is no error."""
        place = self._place(endpoint)
        number, index = _read(place)
        deadline = time.monotonic() + _DYING_WITHIN
        while link := self._find(place, number, index, endpoint.interface):
            if time.monotonic() > deadline:
                remove_link(self._host, link.index, number)
                break
            time.sleep(0.004)
        place.unlink(missing_ok=True)

    def faults(self, endpoint: Endpoint, netns: int, child: Child) -> list[str]:
        """What is not as :meth:`attach` left it."""
        return container_side.faults(endpoint, netns, child.default_route, own_mac=child.own_mac)

    # --- details ------------------------------------------------------------------------------------

    def _attach(self, endpoint: Endpoint, netns: int, number: int, parent: Link, child: Child) -> int:
        """The index of the new interface in its namespace."""
        self._make(endpoint, netns, parent, child)
        link = find_link(self._host, endpoint.interface, number)
        if link is None:
            raise OSError(errno.ENODEV, f"{endpoint.interface} vanished")
        try:
            container_side.configure(
                endpoint, netns, child.default_route, lambda index: _with_mac(endpoint, index, child)
            )
        except BaseException:
            remove_link(self._host, link.index, number)
            raise
        return link.index

    def _make(self, endpoint: Endpoint, netns: int, parent: Link, child: Child) -> None:
        data = nested(interfaces.DATA, *(attribute(number, value) for number, value in child.data.items()))
        parts = [
            text(interfaces.NAME, endpoint.interface),
            unsigned(interfaces.PARENT, parent.index),
            unsigned(interfaces.NAMESPACE, netns),
            nested(interfaces.INFO, text(interfaces.KIND, child.kind), data),
        ]
        if child.own_mac:
            parts.append(attribute(interfaces.MAC, mac_bytes(endpoint.mac)))
        if child.mtu:
            parts.append(unsigned(interfaces.MTU, child.mtu))
        head = LINK.pack(0, 0, 0, 0, 0)
        flags = F_ACK | F_CREATE | F_EXCLUSIVE
        self._host.request([Message(interfaces.NEW_LINK, flags, head + b"".join(parts))])

    def _find(self, place: Path, number: int, index: str, name: str) -> Link | None:
        """The interface of that index, or of that name if none is known, in a namespace, if both are there and ours."""
        if number < 0:
            return None
        try:
            link = find_link(self._host, index or name, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise
        is_child = link is not None and link.peer_namespace >= 0
        return link if is_child and not self._is_anothers(place, number, index) else None

    def _is_anothers(self, place: Path, number: int, index: str) -> bool:
        """Whether the number means another container's namespace by now: the kernel gives it anew."""
        made = _made(place)
        for other in self._places.iterdir():
            its_number, its_index = _read(other)
            is_alike = its_number == number and index in ("", its_index)
            if other != place and is_alike and _made(other) > made:
                return True
        return False

    def _number(self, netns: int) -> int:
        """The number of a namespace on the host, given to it if it has none (RTM_NEWNSID)."""
        query = Message(_GET_NUMBER, 0, _HEAD + unsigned(_BY_DESCRIPTOR, netns))
        wanted = _HEAD + unsigned(_BY_DESCRIPTOR, netns) + attribute(_NUMBER, struct.pack("=i", _ANY))
        for _ in range(2):
            found = attributes(self._host.request([query])[0][len(_HEAD) :])
            number: int = struct.unpack("=i", found[_NUMBER])[0]
            if number >= 0:
                return number
            try:
                self._host.request([Message(_NEW_NUMBER, F_ACK, wanted)])
            except OSError as error:
                if error.errno != errno.EEXIST:  # given meanwhile
                    raise
        raise OSError(errno.EAGAIN, "the container's namespace gets no number")

    def _way_out(self) -> str:
        """The index of the interface of the best default route; empty when there is none."""
        routes = struct.Struct("=BBBBBBBBI")
        query = routes.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        found = []
        for reply in self._host.dump(Message(interfaces.GET_ROUTE, 0, query)):
            fields = attributes(reply[routes.size :])
            if reply[1] == 0 and 4 in fields:
                found.append(
                    (
                        struct.unpack("=I", fields.get(6, bytes(4)))[0],
                        struct.unpack("=I", fields[4])[0],
                    )
                )
        return str(min(found)[1]) if found else ""

    def _place(self, endpoint: Endpoint) -> Path:
        if not _ENDPOINT_ID.fullmatch(endpoint.id):
            raise InvalidInput(f"endpoint: {endpoint.id!r} is no id", "an id is of hexadecimal digits")
        return self._places / endpoint.id


def _read(place: Path) -> tuple[int, str]:
    """The number of a namespace and the index of the interface there, empty if it is not known."""
    try:
        number, _, index = place.read_text().partition(" ")
        return int(number or _ANY), index if index != "0" else ""
    except FileNotFoundError:
        return _ANY, ""


def _made(place: Path) -> int:
    try:
        return place.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _with_mac(endpoint: Endpoint, index: int, child: Child) -> list[Message]:
    """Its own MAC once more: some kinds take the parent's at first."""
    if not child.own_mac:
        return []
    parts = LINK.pack(0, 0, index, 0, 0) + attribute(interfaces.MAC, mac_bytes(endpoint.mac))
    return [Message(interfaces.NEW_LINK, F_ACK, parts)]


def attempt(child: Child) -> OSError | None:
    """Whether this kernel makes such children: the error if not. Changes nothing; needs root."""

    def make() -> None:
        with closing(Connection(interfaces.PROTOCOL)) as connection:
            flags = F_ACK | F_CREATE | F_EXCLUSIVE
            veth = text(interfaces.NAME, "probe0") + nested(interfaces.INFO, text(interfaces.KIND, "veth"))
            connection.request([Message(interfaces.NEW_LINK, flags, LINK.pack(0, 0, 0, 0, 0) + veth)])
            parent = find_link(connection, "probe0")
            if parent is None:
                raise OSError(errno.ENODEV, "the parent vanished")
            data = nested(interfaces.DATA, *(attribute(kind, value) for kind, value in child.data.items()))
            made = unsigned(interfaces.PARENT, parent.index)
            made += nested(interfaces.INFO, text(interfaces.KIND, child.kind), data)
            connection.request([Message(interfaces.NEW_LINK, flags, LINK.pack(0, 0, 0, 0, 0) + made)])

    return in_new_namespace(make)


def _failed(network: Network, endpoint: Endpoint, parent: Link, child: Child, error: OSError) -> Exception:
    reason = error.strerror or str(error)
    if error.errno == errno.EEXIST:
        return Conflict(
            f"the container already has an interface {endpoint.interface!r}",
            "disconnect it first, or use another interface name",
        )
    if error.errno == errno.EOPNOTSUPP:
        return Unsupported(
            f"this kernel has no {child.kind} links", f"load the module with `modprobe {child.kind}`"
        )
    if error.errno in child.taken:
        return Conflict(
            f"interface {parent.name} takes no further child for network {network.name!r}: {reason}",
            "another container or program has it, or its MAC",
        )
    remedy = f"see whether the interface {parent.name} is there and up: ip link show {parent.name}"
    return StepFailed(f"attach to network {network.name!r}", reason, remedy)
