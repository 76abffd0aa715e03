"""Forgetting tracked UDP flows, over ctnetlink (the kernel's linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

from multios.netlink.messages import F_ACK, Connection, Message, attribute, attributes, nested
from multios_net_bridge.nfnetlink import PROTOCOL

_SUBSYSTEM = 1
_GET, _DELETE = 1, 2
_ORIGINAL, _ADDRESS_PART, _PROTOCOL_PART = 1, 1, 2  # CTA_TUPLE_ORIG; CTA_TUPLE_IP, CTA_TUPLE_PROTO within
_DESTINATION, _DESTINATION6 = 2, 4  # CTA_IP_V4_DST, CTA_IP_V6_DST
_NUMBER, _TO_PORT = 1, 3  # CTA_PROTO_NUM, CTA_PROTO_DST_PORT
_EDGE = struct.Struct(">BBH")


def forget_datagrams(ports: set[int], is_meant: Callable[[bytes], bool]) -> None:
    """Forget every UDP flow to these ports of packed addresses that are meant: its next packet obeys the rules of now.

    Flows that only pass through, such as a container's DNS queries, stay. Looks at every tracked flow
    (about 1 ms a hundred), hence only when a UDP port changes.
    """
    connection = Connection(PROTOCOL)
    try:
        for reply in connection.dump(Message(_SUBSYSTEM << 8 | _GET, 0, _EDGE.pack(socket.AF_UNSPEC, 0, 0))):
            original = attributes(reply[4:]).get(_ORIGINAL, b"")
            parts = attributes(original)
            part = attributes(parts.get(_PROTOCOL_PART, b""))
            addresses = attributes(parts.get(_ADDRESS_PART, b""))
            target = addresses.get(_DESTINATION) or addresses.get(_DESTINATION6, b"")
            if (
                part.get(_NUMBER) == bytes([socket.IPPROTO_UDP])
                and int.from_bytes(part.get(_TO_PORT, b"\0"), "big") in ports
                and is_meant(target)
            ):
                _delete(connection, reply[0], original)
    finally:
        connection.close()


def _delete(connection: Connection, family: int, original: bytes) -> None:
    request = _EDGE.pack(family, 0, 0) + nested(
        _ORIGINAL, *(attribute(kind | 0x8000, part) for kind, part in attributes(original).items())
    )
    try:
        connection.request([Message(_SUBSYSTEM << 8 | _DELETE, F_ACK, request)])
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
