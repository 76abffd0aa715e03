"""Interfaces as rtnetlink(7) shows them: found, and seen in another namespace by its number here."""

from __future__ import annotations

import errno
import struct
import sys
from dataclasses import dataclass

from multios.netlink.messages import F_ACK, Connection, Message, attribute, attributes, text

PROTOCOL = 0  # NETLINK_ROUTE
NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, GET_ADDRESS, NEW_ROUTE, GET_ROUTE, NEW_NEIGHBOUR = 20, 22, 24, 26, 28

LINK = struct.Struct("=BxHiII")
"""A link message's head: family, type, index, flags, which flags change."""
UP = 1
MAC, NAME, MTU, PARENT, MASTER, OPERATION, INFO, NAMESPACE = 1, 3, 4, 5, 10, 16, 18, 28
PEER_NAMESPACE, TARGET_NAMESPACE = 37, 46
KIND, DATA = 1, 2  # within INFO
_OPERATIONAL = 6  # IF_OPER_UP
HERE = -1
"""Instead of another namespace's number: that of the connection."""


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel says of an interface; ``peer_namespace`` is its number for the peer's or parent's, −1 for none."""

    index: int
    name: str
    up: bool
    kind: str
    mac: str
    mtu: int
    master: int
    parent: int
    operational: bool
    peer_namespace: int


def find_link(connection: Connection, name: str, namespace: int = HERE) -> Link | None:
    """The interface of that name, or index when the name is a number; in another namespace by its number.

    ``OSError`` EINVAL when the number means no namespace any more.
    """
    index = int(name) if name.isdecimal() else 0
    query = LINK.pack(0, 0, index, 0, 0) + (b"" if index else text(NAME, name))
    try:
        replies = connection.request([Message(GET_LINK, 0, query + _in(namespace))])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return _read(replies[0])


def remove_link(connection: Connection, index: int, namespace: int = HERE) -> None:
    """Remove an interface; an absent one is no error."""
    try:
        connection.request([Message(DELETE_LINK, F_ACK, LINK.pack(0, 0, index, 0, 0) + _in(namespace))])
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def mac_bytes(mac: str) -> bytes:
    """A MAC's six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def has_namespace(connection: Connection, number: int) -> bool:
    """Whether a namespace's number means one that is alive."""
    try:
        find_link(connection, "1", number)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def _in(namespace: int) -> bytes:
    return b"" if namespace == HERE else attribute(TARGET_NAMESPACE, struct.pack("=i", namespace))


def _read(reply: bytes) -> Link:
    _, _, index, flags, _ = LINK.unpack_from(reply)
    fields = attributes(reply[LINK.size :])
    information = attributes(fields.get(INFO, b""))
    return Link(
        index=index,
        name=fields.get(NAME, b"").rstrip(b"\0").decode(),
        up=bool(flags & UP),
        kind=information.get(KIND, b"").rstrip(b"\0").decode(),
        mac=fields.get(MAC, b"").hex(":"),
        mtu=int.from_bytes(fields.get(MTU, b""), sys.byteorder),
        master=int.from_bytes(fields.get(MASTER, b""), sys.byteorder),
        parent=int.from_bytes(fields.get(PARENT, b""), sys.byteorder),
        operational=fields.get(OPERATION) == bytes([_OPERATIONAL]),
        peer_namespace=struct.unpack("=i", fields.get(PEER_NAMESPACE, b"\xff\xff\xff\xff"))[0],
    )
