"""Netlink messages and attributes, and a socket to send them through; netlink(7).

pyroute2 builds and parses messages generically, which costs some 0.3 ms each. What is done for every
container is encoded here instead.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

F_REQUEST, F_ACK, F_DUMP_INTERRUPTED = 0x1, 0x4, 0x10
F_REPLACE, F_EXCLUSIVE, F_CREATE, F_APPEND = 0x100, 0x200, 0x400, 0x800
F_DUMP = 0x300

NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_LONGEST_ATTRIBUTE = 0xFFFF

_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_EXTENDED = 0x200
_RECEIVE = 1 << 17
_DUMP_ATTEMPTS = 10


class Message(NamedTuple):
    """One request: type, flags (``F_REQUEST`` is added) and payload."""

    kind: int
    flags: int
    payload: bytes


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute: length, type, payload, padded to four bytes. A payload over 64 KiB raises ``ValueError``."""
    length = 4 + len(payload)
    if length > _LONGEST_ATTRIBUTE:
        raise ValueError(f"netlink attribute of {length} bytes; at most {_LONGEST_ATTRIBUTE}")
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """A string attribute, terminated by a zero byte."""
    return attribute(kind, value.encode() + b"\0")


def unsigned(kind: int, value: int) -> bytes:
    """A 32-bit attribute in the host's byte order, as rtnetlink has it."""
    return attribute(kind, struct.pack("=I", value))


def walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every attribute of ``data``: type without its flag bits, payload. Malformed ones raise ``ValueError``."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            raise ValueError("malformed netlink attribute")
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of ``data`` by type; of one that repeats, the last."""
    return dict(walk(data))


class Connection:
    """A netlink socket in the network namespace of the thread that makes it; usable from any thread.

    The kernel handles requests within sendmsg(2), so every answer is there when it returns.
    """

    def __init__(self, protocol: int) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        for option in (_CAP_ACK, _EXT_ACK):
            try:
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError:
                pass  # before Linux 4.12: errors come without a text

    def close(self) -> None:
        """Close the socket; closing twice is no error."""
        self._socket.close()

    def request(self, messages: Sequence[Message]) -> list[bytes]:
        """Send messages in one datagram; the payloads of what came back, apart from acknowledgements.

        The first error raises ``OSError`` with the kernel's reason. rtnetlink handles the messages one by
        one: those beside the failed one may have been done.
        """
        with self._lock:
            self._send(messages)
            replies: list[bytes] = []
            error: OSError | None = None
            while True:
                try:
                    data = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                for kind, _, payload in _split(data):
                    if kind != _ERROR:
                        replies.append(payload)
                    elif error is None:
                        error = _error(payload)
            if error is not None:
                raise error
            return replies

    def dump(self, message: Message) -> list[bytes]:
        """The payloads of all answers to a dump request; asked again when the list changed meanwhile."""
        with self._lock:
            for _ in range(_DUMP_ATTEMPTS):
                self._send([message._replace(flags=message.flags | F_DUMP)])
                replies, complete = self._receive_dump()
                if complete:
                    return replies
        raise OSError(errno.EINTR, "the kernel's list kept changing while it was read")

    def _send(self, messages: Sequence[Message]) -> None:
        parts = []
        for kind, flags, payload in messages:
            self._sequence = (self._sequence + 1) & 0x7FFFFFFF
            parts.append(
                _HEADER.pack(16 + len(payload), kind, flags | F_REQUEST, self._sequence, 0) + payload
            )
            parts.append(bytes(-len(payload) % 4))
        self._socket.send(b"".join(parts))

    def _receive_dump(self) -> tuple[list[bytes], bool]:
        replies: list[bytes] = []
        complete = True
        while True:
            for kind, flags, payload in _split(self._socket.recv(_RECEIVE)):
                complete = complete and not flags & F_DUMP_INTERRUPTED
                if kind == _DONE:
                    return replies, complete
                if kind == _ERROR:
                    error = _error(payload)
                    if error is not None:
                        raise error
                else:
                    replies.append(payload)


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > len(data):
            raise ValueError("malformed netlink message")
        payload = data[offset + 16 : offset + length]
        if kind == _ERROR and flags & _EXTENDED:
            # int, the request's header, then attributes: number 1 is the text.
            reason = attributes(payload[20:]).get(1, b"").rstrip(b"\0")
            payload = payload[:20] + reason
        yield kind, flags, payload
        offset += (length + 3) & ~3


def _error(payload: bytes) -> OSError | None:
    number = -struct.unpack_from("=i", payload)[0]
    if number == 0:
        return None
    reason = payload[20:].decode(errors="replace") if len(payload) > 20 else ""
    return OSError(number, f"{os.strerror(number)} ({reason})" if reason else os.strerror(number))
