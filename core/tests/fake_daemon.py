"""A daemon that only speaks the protocol: it answers what a test tells it to and remembers what it was asked."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from multios.api.protocol import PeerGone, close_all, receive_frame, send_frame
from multios.errors import MultiosError, NotFound

Handler = Callable[["Request"], Any]


class Request:
    """One request, and the ways to answer before its result."""

    def __init__(self, sock: socket.socket, method: str, params: dict[str, Any], fds: list[int]) -> None:
        self.sock, self.method, self.params, self.fds = sock, method, params, fds

    def send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        send_frame(self.sock, message, fds or [])

    def attached(self, facts: dict[str, Any], fds: list[int]) -> None:
        self.send({"attached": facts}, fds)
        close_all(fds)


class FakeDaemon:
    """``answers`` maps a method to a handler or a ready result; ``asked`` is every (method, params) so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.listen()

    def listen(self) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self.path.unlink(missing_ok=True)
        self._listening.bind(str(self.path))
        self._listening.listen(16)
        self._start(self._accept, self._listening)

    def die(self) -> None:
        """As ``kill -9``: every connection is cut."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def close(self) -> None:
        self.die()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._converse, connection)

    def _converse(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, PeerGone):
            while True:
                message, fds = receive_frame(connection)
                self.asked.append((message["method"], message["params"]))
                try:
                    self._answer(Request(connection, message["method"], message["params"], fds))
                finally:
                    close_all(fds)

    def _answer(self, request: Request) -> None:
        answer = self.answers.get(request.method, {"id": "0123456789abcdef"})
        try:
            if callable(answer):
                answer = answer(request)
        except MultiosError as error:
            if isinstance(error, PeerGone):
                raise
            request.send({"error": error.to_wire()})
        else:
            if answer is not None:
                request.send({"result": answer})


def no_such_container(request: Request) -> Any:
    """What the daemon says of an unknown container."""
    raise NotFound(f"no such container: {request.params.get('ref')!r}", "see ps --all")


def pipes() -> tuple[list[int], list[int]]:
    """Read ends and write ends of two pipes: stdout's and stderr's."""
    out, err = os.pipe(), os.pipe()
    return [out[0], err[0]], [out[1], err[1]]
