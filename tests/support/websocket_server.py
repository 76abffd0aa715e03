"""The server's side of a websocket (RFC 6455) on the files of an HTTP handler: whole binary messages, one frame each."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10


class WebSocket:
    """One connection, after its handshake. May be written to from several threads."""

    def __init__(self, handler: BaseHTTPRequestHandler, protocols: tuple[str, ...]) -> None:
        asked = [item.strip() for item in handler.headers["Sec-WebSocket-Protocol"].split(",")]
        self.protocol = next(item for item in asked if item in protocols)
        key = (handler.headers["Sec-WebSocket-Key"] + _SUFFIX).encode()
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        handler.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key).digest()).decode())
        handler.send_header("Sec-WebSocket-Protocol", self.protocol)
        handler.end_headers()
        handler.close_connection = True
        self._handler, self._lock = handler, threading.Lock()

    def send(self, message: bytes) -> None:
        """Raises ``OSError`` when the client is gone."""
        self._frame(_BINARY, message)

    def messages(self) -> Iterator[bytes]:
        """Until the client closes, or is gone."""
        while True:
            try:
                code, data = self._read()
            except (OSError, EOFError, ValueError):  # the last: our side has closed it
                return
            if code == _CLOSE:
                return
            if code == _PING:
                self._frame(_PONG, data)
            elif code == _BINARY:
                yield data

    def close(self) -> None:
        """Say the end."""
        try:
            self._frame(_CLOSE, struct.pack("!H", 1000))
        except OSError:
            pass

    def _read(self) -> tuple[int, bytes]:
        first, second = self._take(2)
        assert second & 0x80, "a client masks what it sends"
        length = second & 0x7F
        if length >= 126:
            (length,) = (
                struct.unpack("!H", self._take(2)) if length == 126 else struct.unpack("!Q", self._take(8))
            )
        mask = self._take(4)
        data = self._take(length)
        whole = (mask * (length // 4 + 1))[:length]
        plain = (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(length, "big")
        return first & 0x0F, plain

    def _take(self, count: int) -> bytes:
        data = self._handler.rfile.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _frame(self, code: int, data: bytes) -> None:
        length = len(data)
        head = bytes((0x80 | code,))
        if length < 126:
            head += bytes((length,))
        elif length < 1 << 16:
            head += struct.pack("!BH", 126, length)
        else:
            head += struct.pack("!BQ", 127, length)
        with self._lock:
            self._handler.wfile.write(head + data)
            self._handler.wfile.flush()
