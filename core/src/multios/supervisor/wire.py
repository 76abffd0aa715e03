"""Messages between the daemon, the supervisor and its children: a JSON object and descriptors, in one packet.

The sockets are of type SOCK_SEQPACKET (unix(7)): a packet arrives whole or not at all, and its descriptors
with it.
"""

from __future__ import annotations

import json
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

MAX_BYTES = 64 * 1024
MAX_DESCRIPTORS = 253  # SCM_MAX_FD of the kernel
_SPACE = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)


class Malformed(ValueError):
    """A packet is too big or no JSON object."""


def encode(message: dict[str, Any]) -> bytes:
    """The bytes of a message; :class:`Malformed` if they do not fit into a packet."""
    data = json.dumps(message).encode()
    if len(data) > MAX_BYTES:
        raise Malformed(f"a message of {len(data)} bytes is longer than {MAX_BYTES}")
    return data


def send_bytes(channel: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send an encoded message; the descriptors stay the sender's."""
    if len(descriptors) > MAX_DESCRIPTORS:
        raise Malformed(f"{len(descriptors)} descriptors are more than {MAX_DESCRIPTORS}")
    packed = struct.pack(f"{len(descriptors)}i", *descriptors)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if descriptors else []
    channel.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def send(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message and copies of the descriptors."""
    send_bytes(channel, encode(message), descriptors)


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its descriptors (close-on-exec, the receiver's), or ``(None, [])`` at the end."""
    data, ancillary, state, _ = channel.recvmsg(MAX_BYTES, _SPACE, socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, packed in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(packed) - len(packed) % 4
            descriptors += struct.unpack(f"{whole // 4}i", packed[:whole])
    try:
        if state & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise Malformed("a packet did not fit")
        if not data:
            close_all(descriptors)
            return None, []
        message = json.loads(data)
        if not isinstance(message, dict):
            raise Malformed("a message that is no object")
    except ValueError as error:  # of which JSONDecodeError, UnicodeDecodeError and Malformed are kinds
        close_all(descriptors)
        raise Malformed(str(error)) from None
    except RecursionError:
        close_all(descriptors)
        raise Malformed("nested too deeply") from None
    return message, descriptors


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def close_all(descriptors: Iterable[int]) -> None:
    """Close each that is not -1; one already closed is no error."""
    for descriptor in descriptors:
        if descriptor >= 0:
            try:
                os.close(descriptor)
            except OSError:
                continue
