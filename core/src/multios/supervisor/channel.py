"""The daemon's end of requests to the supervisor: connections that threads borrow and give back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any

from multios import errors
from multios.supervisor import wire


class Gone(Exception):
    """No supervisor answered. ``sent`` says whether it may have begun with the request."""

    def __init__(self, sent: bool) -> None:
        super().__init__("the supervisor is gone")
        self.sent = sent


def connect(path: str) -> socket.socket:
    """A new connection; ``OSError`` when nobody listens."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        channel.connect(path)
    except BaseException:
        channel.close()
        raise
    return channel


class Channels:
    """Requests and answers, from any thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    def request(
        self, message: dict[str, Any], descriptors: Sequence[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        """Send a request and wait for its answer: the result, and descriptors (-1 where there is none).

        Raises :class:`Gone`, or the :class:`~multios.errors.MultiosError` that the supervisor answered with.
        """
        channel = self._borrow()
        try:
            wire.send(channel, message, descriptors)
        except wire.Malformed as error:
            channel.close()
            raise errors.InvalidInput(str(error), "ask for less at once") from None
        except OSError:
            channel.close()
            raise Gone(sent=False) from None
        try:
            answer, received = wire.receive(channel)
        except (OSError, wire.Malformed):
            answer, received = None, []
        if answer is None:
            channel.close()
            raise Gone(sent=True)
        with self._lock:
            self._idle.append(channel)
        if "error" in answer:
            raise _as_error(answer["error"])
        ends = iter(received)
        return answer["result"], [next(ends, -1) if there else -1 for there in answer["places"]]

    def close(self) -> None:
        """Hang up the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for channel in idle:
            channel.close()

    def _borrow(self) -> socket.socket:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            return connect(self._path)
        except OSError:
            raise Gone(sent=False) from None


def _as_error(data: dict[str, Any]) -> errors.MultiosError:
    if data.get("code") == errors.StepFailed.code:
        return errors.StepFailed(str(data.get("step")), str(data.get("cause")), str(data.get("remedy", "")))
    return errors.from_wire(data)
