"""Websockets to the API server, which leads them to pods: commands and ports (Kubernetes' ``channel.k8s.io`` protocols).

Beside :mod:`multios_orchestrator_kubernetes.cluster` the only module that imports the client library.
"""

from __future__ import annotations

import json
import ssl
from typing import Any

from kubernetes import client as library
from kubernetes.stream import ws_client
from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
)

from multios_orchestrator_kubernetes import faults

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
"""Since the fifth, one side can say that a channel has ended."""
CLOSE = 255
_TIMEOUT = 60.0
"""Seconds that connecting may take, and sending a message."""
_PATIENCE = 1.0
"""Seconds that the rest of a message is waited for before others have their turn."""
_LARGEST_BODY = 1 << 20


class Refusal(Exception):
    """The handshake's answer, where it is none."""

    def __init__(self, fault: faults.Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Channels:
    """One connection of numbered channels. For one thread; :meth:`cut` may come from another."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.can_close = socket.subprotocol == V5

    def fileno(self) -> int:
        """For poll(2): readable when a message comes, unless :attr:`has_more`."""
        return int(self._socket.fileno())

    @property
    def has_more(self) -> bool:
        """Whether bytes are here already, which poll(2) does not see: TLS takes whole records."""
        return isinstance(self._socket.sock, ssl.SSLSocket) and self._socket.sock.pending() > 0

    def receive(self) -> tuple[int, bytes] | None:
        """The next message: its channel and bytes; a channel below 0 means nothing. ``None`` is the end."""
        self._socket.settimeout(_PATIENCE)
        try:
            code, frame = self._socket.recv_data_frame(True)
        except WebSocketTimeoutException:  # a part of a message, or of TLS' own: it goes on with the rest
            return -1, b""
        except (WebSocketException, OSError):
            return None
        if code == ABNF.OPCODE_CLOSE:
            return None
        data = bytes(frame.data)
        if code not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not data:
            return -1, b""
        return data[0], data[1:]

    def send(self, channel: int, data: bytes) -> bool:
        """Whether it could be sent."""
        self._socket.settimeout(_TIMEOUT)
        try:
            self._socket.send_binary(bytes((channel,)) + data)
        except (WebSocketException, OSError):
            return False
        return True

    def end(self, channel: int) -> None:
        """Say that nothing more comes on it, where that can be said."""
        if self.can_close:
            self.send(CLOSE, bytes((channel,)))

    def cut(self) -> None:
        """Whoever waits for a message gets the end."""
        self._socket.abort()

    def close(self) -> None:
        """End the connection."""
        try:
            self._socket.close(timeout=1)
        except (WebSocketException, OSError):
            self._socket.shutdown()


def connect(
    client: library.ApiClient, url: str, headers: dict[str, str], protocols: tuple[str, ...]
) -> Channels:
    """A connection, by the first of these protocols that the server has.

    Raises ``Refusal`` for an answer that is no websocket, ``OSError`` where there is no answer.
    """
    settings = client.configuration
    socket = WebSocket(sslopt=_tls(settings), skip_utf8_validation=True, enable_multithread=True)
    options: dict[str, Any] = {
        "header": headers,
        "subprotocols": list(protocols),
        "suppress_origin": True,
        "timeout": _TIMEOUT,
        "redirect_limit": 0,  # the credentials are for this server
    }
    if settings.proxy or settings.proxy_headers:
        options = ws_client.websocket_proxycare(options, settings, url, headers)
    try:
        socket.connect(f"ws{url.removeprefix('http')}", **options)
    except WebSocketBadStatusException as error:
        raise Refusal(_fault(error)) from None
    except WebSocketException as error:
        raise ConnectionError(str(error)) from error
    return Channels(socket)


def _tls(settings: Any) -> dict[str, Any]:
    """As the library has it for its own requests."""
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    if settings.verify_ssl:
        options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": settings.ssl_ca_cert}
        if settings.assert_hostname is False:
            options["check_hostname"] = False
    names = {
        "certfile": settings.cert_file,
        "keyfile": settings.key_file,
        "server_hostname": settings.tls_server_name,
    }
    return {**options, **{name: value for name, value in names.items() if value}}


def _fault(error: WebSocketBadStatusException) -> faults.Fault:
    headers = {str(name).lower(): str(value) for name, value in (error.resp_headers or {}).items()}
    data = (error.resp_body or b"")[:_LARGEST_BODY]
    try:
        body = json.loads(data)
    except ValueError:
        body = {"message": data.decode("utf-8", "replace")} if data else None
    return faults.read(error.status_code, error.status_message or "", body, headers.get("retry-after", ""))
