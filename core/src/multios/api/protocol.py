"""Frames and descriptors on the API socket.

A frame is a 4-byte big-endian length and that many bytes of JSON; descriptors ride on its first byte with
``SCM_RIGHTS`` (unix(7)), and the message then says ``"fds": n``. Works on ``socket.socket`` and on the bare
``_socket.socket``, which spares a client 6 ms of imports.
"""

from __future__ import annotations

import _socket
import os
import sys

from multios.api.wire_json import dumps, loads
from multios.errors import InvalidInput, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAXIMUM_FRAME = 64 * 1024 * 1024
MAXIMUM_DESCRIPTORS = 16
_HEADER = 4
_CHUNK = 1024 * 1024
_INT = 4


class PeerGone(Unavailable):
    """The other side closed the connection, between frames or in the middle of one.

    ``unread`` is true when it had not read all that was sent to it: what it was asked, it has not begun.
    """

    def __init__(self, middle: bool = False, unread: bool = False) -> None:
        self.unread = unread
        super().__init__(
            "the connection was closed" + (" in the middle of a frame" if middle else ""),
            "the daemon may have been stopped or replaced: run the command again",
        )


def send_frame(sock: _socket.socket, message: dict[str, Any], fds: Iterable[int] = ()) -> None:
    """Send ``message`` and duplicates of ``fds`` (they stay the caller's); blocks until all is sent.

    Raises ``PeerGone``, and ``InvalidInput`` for a message or a number of descriptors past the bounds.
    """
    descriptors = tuple(fds)
    if len(descriptors) > MAXIMUM_DESCRIPTORS:
        raise InvalidInput(f"{len(descriptors)} descriptors in one frame; at most {MAXIMUM_DESCRIPTORS} fit")
    if descriptors:
        message = {**message, "fds": len(descriptors)}
    body = dumps(message).encode("ascii")
    if len(body) > MAXIMUM_FRAME:
        raise InvalidInput(f"a message of {len(body)} bytes; at most {MAXIMUM_FRAME} fit in a frame")
    data = len(body).to_bytes(_HEADER, "big") + body
    try:
        if descriptors:
            packed = b"".join(fd.to_bytes(_INT, sys.byteorder) for fd in descriptors)
            sent = sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
            if sent < len(data):
                sock.sendall(memoryview(data)[sent:])
        else:
            sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        raise PeerGone(unread=True) from None


def receive_frame(sock: _socket.socket, largest: int = MAXIMUM_FRAME) -> tuple[dict[str, Any], list[int]]:
    """The next message and its descriptors, which are the caller's to close (close-on-exec is set).

    Raises ``PeerGone`` at the end of the connection and ``InvalidInput`` for what is no frame; the connection is
    of no use after either. No descriptor is left open when it raises.
    """
    fds: list[int] = []
    try:
        length = int.from_bytes(_receive_header(sock, fds), "big")
        if length > largest:
            raise InvalidInput(f"a message of {length} bytes; at most {largest} are allowed", "send less")
        message = _decode(_receive_exactly(sock, length))
        if message.get("fds", 0) != len(fds):
            raise InvalidInput(
                f"a frame says it has {message.get('fds', 0)!r} descriptors but has {len(fds)}"
            )
    except BaseException:
        close_all(fds)
        raise
    return message, fds


def close_all(fds: Iterable[int]) -> None:
    """Close every descriptor; negative ones stand for none."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def _receive_header(sock: _socket.socket, fds: list[int]) -> bytes:
    header = b""
    space = _socket.CMSG_SPACE(MAXIMUM_DESCRIPTORS * _INT)
    while len(header) < _HEADER:
        try:
            data, ancillary, flags, _ = sock.recvmsg(_HEADER - len(header), space, _socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # only if data was left unread (unix(7), ECONNRESET)
            raise PeerGone(middle=bool(header), unread=not header) from None
        for level, kind, packed in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                ends = range(_INT, len(packed) + 1, _INT)
                fds.extend(int.from_bytes(packed[end - _INT : end], sys.byteorder) for end in ends)
        if flags & _socket.MSG_CTRUNC:
            raise InvalidInput(f"more than {MAXIMUM_DESCRIPTORS} descriptors in one frame")
        if not data:
            raise PeerGone(middle=bool(header))
        header += data
    return header


def _receive_exactly(sock: _socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        try:
            data = sock.recv(min(length, _CHUNK))
        except ConnectionResetError:
            raise PeerGone(middle=True) from None
        if not data:
            raise PeerGone(middle=True)
        parts.append(data)
        length -= len(data)
    return b"".join(parts)


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = loads(body.decode("utf-8"))
    except ValueError as error:
        raise InvalidInput(f"a frame is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise InvalidInput("a frame is not a JSON object")
    return message
