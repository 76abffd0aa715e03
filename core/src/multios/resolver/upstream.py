"""Asking other name servers: each question from a socket and with an id of its own, so that answers cannot be guessed."""

from __future__ import annotations

import secrets
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from multios.resolver.loop import Loop
from multios.resolver.wire import is_answer_to

PATIENCE = 2.0
"""Seconds until the next server is asked."""
MOST = 512
MOST_AN_ENDPOINT = 64
_LARGEST = 65535

Answered = Callable[[bytes | None], None]
"""Gets the whole answer with the asker's id, or ``None`` when no server answered."""


@dataclass(slots=True)
class _Pending:
    data: bytes
    question: bytes
    servers: list[str]
    stream: bool
    endpoint_id: str
    answered: Answered
    number: int = 0
    deadline: float = 0.0
    socket: socket.socket | None = None
    outgoing: bytes = b""
    incoming: bytearray = field(default_factory=bytearray)


class Upstream:
    """Questions under way, bounded in all and for each endpoint: more are dropped, as a flood deserves."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pending: dict[int, _Pending] = {}
        self._asked: Counter[str] = Counter()
        self.servers: tuple[str, ...] = ()
        """The host's name servers."""
        loop.every_tick(self._tick)

    def ask(
        self,
        data: bytes,
        question: bytes,
        servers: tuple[str, ...],
        stream: bool,
        endpoint_id: str,
        answered: Answered,
    ) -> None:
        """Send the query ``data`` on, to ``servers`` or the host's; with ``stream`` over TCP."""
        if len(self._pending) >= MOST or self._asked[endpoint_id] >= MOST_AN_ENDPOINT:
            return
        chosen = list(servers or self.servers)
        pending = _Pending(data, question, chosen, stream, endpoint_id, answered)
        self._asked[endpoint_id] += 1
        self._next(pending)

    def _next(self, pending: _Pending) -> None:
        while pending.servers:
            server = pending.servers.pop(0)
            try:
                self._send(pending, server)
                return
            except OSError:
                self._let_go(pending)
        self._finish(pending, None)

    def _send(self, pending: _Pending, server: str) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_STREAM if pending.stream else socket.SOCK_DGRAM
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        pending.socket = made
        pending.number = secrets.randbits(16)
        message = pending.number.to_bytes(2, "big") + pending.data[2:]
        pending.deadline = time.monotonic() + PATIENCE
        descriptor = made.fileno()
        if pending.stream:
            pending.outgoing = len(message).to_bytes(2, "big") + message
            pending.incoming = bytearray()
            if made.connect_ex((server, 53)) not in (0, 115):  # EINPROGRESS
                raise OSError
            self._loop.add(descriptor, lambda events: self._stream_ready(pending, events), select.EPOLLOUT)
        else:
            made.connect((server, 53))  # the kernel drops what comes from elsewhere
            made.send(message)
            self._loop.add(descriptor, lambda events: self._datagram_ready(pending))
        self._pending[descriptor] = pending

    def _datagram_ready(self, pending: _Pending) -> None:
        assert pending.socket is not None
        try:
            data = pending.socket.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:  # nobody listens there
            self._let_go(pending)
            self._next(pending)
            return
        if is_answer_to(data, pending.number, pending.question):
            self._finish(pending, data)

    def _stream_ready(self, pending: _Pending, events: int) -> None:
        assert pending.socket is not None
        try:
            if pending.outgoing:
                sent = pending.socket.send(pending.outgoing)
                pending.outgoing = pending.outgoing[sent:]
                if not pending.outgoing:
                    self._loop.change(pending.socket.fileno(), select.EPOLLIN)
                return
            part = pending.socket.recv(_LARGEST)
            if not part:
                raise OSError
        except BlockingIOError:
            return
        except OSError:
            self._let_go(pending)
            self._next(pending)
            return
        pending.incoming += part
        length = int.from_bytes(pending.incoming[:2], "big")
        if len(pending.incoming) >= 2 + length:
            data = bytes(pending.incoming[2 : 2 + length])
            self._finish(pending, data if is_answer_to(data, pending.number, pending.question) else None)

    def _finish(self, pending: _Pending, data: bytes | None) -> None:
        self._let_go(pending)
        self._asked[pending.endpoint_id] -= 1
        if not self._asked[pending.endpoint_id]:
            del self._asked[pending.endpoint_id]
        pending.answered(pending.data[:2] + data[2:] if data else None)

    def _let_go(self, pending: _Pending) -> None:
        if pending.socket is not None:
            descriptor = pending.socket.fileno()
            self._pending.pop(descriptor, None)
            self._loop.remove(descriptor)
            pending.socket.close()
            pending.socket = None

    def _tick(self) -> bool:
        now = time.monotonic()
        for pending in [item for item in self._pending.values() if item.deadline < now]:
            self._let_go(pending)
            self._next(pending)
        return bool(self._pending)
