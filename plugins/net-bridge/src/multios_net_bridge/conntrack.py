"""Forgetting tracked UDP flows, over ctnetlink (the kernel's linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import socket
import struct

from multios_net_bridge.netlink import F_ACK, Connection, Message, attribute, attributes, nested
from multios_net_bridge.nfnetlink import PROTOCOL

_SUBSYSTEM = 1
_GET, _DELETE = 1, 2
_ORIGINAL, _PROTOCOL_PART = 1, 2  # CTA_TUPLE_ORIG; CTA_TUPLE_PROTO within
_NUMBER, _TO_PORT = 1, 3  # CTA_PROTO_NUM, CTA_PROTO_DST_PORT
_EDGE = struct.pack(">BBH", socket.AF_INET, 0, 0)


def forget_datagrams(ports: set[int]) -> None:
    """Forget every UDP flow to these ports, so that its next packet is judged by the rules of now.

    Looks at every tracked flow (about 1 ms a thousand), hence only when a UDP port changes.
    """
    connection = Connection(PROTOCOL)
    try:
        for reply in connection.dump(Message(_SUBSYSTEM << 8 | _GET, 0, _EDGE)):
            original = attributes(reply[4:]).get(_ORIGINAL, b"")
            part = attributes(attributes(original).get(_PROTOCOL_PART, b""))
            if part.get(_NUMBER) != bytes([socket.IPPROTO_UDP]):
                continue
            if int.from_bytes(part.get(_TO_PORT, b"\0"), "big") in ports:
                _delete(connection, original)
    finally:
        connection.close()


def _delete(connection: Connection, original: bytes) -> None:
    request = _EDGE + nested(
        _ORIGINAL, *(attribute(kind | 0x8000, part) for kind, part in attributes(original).items())
    )
    try:
        connection.request([Message(_SUBSYSTEM << 8 | _DELETE, F_ACK, request)])
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
