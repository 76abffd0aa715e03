"""The daemon's connections: requests come in, answers and events go out."""

from __future__ import annotations

import os
import socket
import struct

from multios.supervisor import wire
from multios.supervisor.complaint import complain
from multios.supervisor.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from multios.supervisor.loop import Loop

    Handler = Callable[["Connection", dict[str, Any], list[int]], None]

MAX_UNSENT = 20_000


class Connection:
    """One connected client. A packet that it does not take at once waits; too many, and it is dropped."""

    def __init__(self, loop: Loop, channel: socket.socket, handler: Handler) -> None:
        self._loop = loop
        self._channel = channel
        self._handler = handler
        self._unsent: list[tuple[bytes, list[int]]] = []
        self.open = True
        self.subscribed = False
        self.on_close: Callable[[Connection], None] = lambda connection: None
        channel.setblocking(False)
        loop.watch(channel.fileno(), READ, self._on_ready)

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send, or keep (with copies of the descriptors) until the client takes it; gone: no error."""
        if not self.open:
            return
        data = wire.encode(message)
        try:
            if not self._unsent:
                wire.send_bytes(self._channel, data, descriptors)
                return
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if len(self._unsent) >= MAX_UNSENT:
            complain("client", "takes no messages any more")
            self.close()
            return
        self._unsent.append((data, [os.dup(descriptor) for descriptor in descriptors]))
        self._loop.change(self._channel.fileno(), READ | WRITE)

    def close(self) -> None:
        """Hang up."""
        if self.open:
            self.open = False
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
            for _, descriptors in self._unsent:
                wire.close_all(descriptors)
            self._unsent.clear()
            self.on_close(self)

    def _on_ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if not self.open or not events & ~WRITE:
            return
        try:
            message, descriptors = wire.receive(self._channel)
        except BlockingIOError:
            return
        except wire.Malformed as error:
            self.send({"error": {"code": "invalid", "cause": f"bad request: {error}"}})
            return
        except OSError:
            message, descriptors = None, []
        if message is None:
            self.close()
        else:
            self._handler(self, message, descriptors)

    def _flush(self) -> None:
        try:
            while self._unsent:
                wire.send_bytes(self._channel, *self._unsent[0])
                wire.close_all(self._unsent.pop(0)[1])
            self._loop.change(self._channel.fileno(), READ)
        except BlockingIOError:
            return
        except OSError:
            self.close()


class Reply:
    """The one answer to a request; later ones are dropped. Given descriptors are closed in any case."""

    __slots__ = ("_connection", "_done")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._done = False

    def good(self, result: dict[str, Any] | None = None, descriptors: Sequence[int] = ()) -> None:
        """It worked. Descriptors of -1 have no place in a packet: their places are listed instead."""
        real = [descriptor for descriptor in descriptors if descriptor >= 0]
        try:
            if not self._done:
                self._done = True
                places = [descriptor >= 0 for descriptor in descriptors]
                self._connection.send({"result": result or {}, "places": places}, real)
        finally:
            wire.close_all(real)

    def bad(self, code: str, cause: str, remedy: str = "", **more: object) -> None:
        """It did not: ``code`` is one of ``multios.errors``."""
        if not self._done:
            self._done = True
            self._connection.send({"error": {"code": code, "cause": cause, "remedy": remedy, **more}})

    def failed(self, error: dict[str, Any]) -> None:
        """A child's own account of what failed."""
        number = int(error.get("errno") or 0)
        detail = ": ".join(part for part in (error["detail"], os.strerror(number) if number else "") if part)
        status = error.get("status", 125)
        if status == 127:
            cause = f"command not found: {error['detail']}" if error["detail"] else "command not found"
            self.bad(
                "command_not_found", cause, "check its spelling and the container's PATH", exit_status=127
            )
        elif status == 126:
            self.bad("not_executable", f"cannot run the command: {detail}", exit_status=126)
        else:
            self.bad("step_failed", detail or "failed", step=error["step"])


def listen(path: str) -> socket.socket:
    """A listening socket at ``path`` that only our own user can reach; a dead predecessor's is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    temporary = f"{path}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    before = os.umask(0o177)
    try:
        listener.bind(temporary)
    finally:
        os.umask(before)
    listener.listen(64)
    listener.setblocking(False)
    os.rename(temporary, path)
    return listener


def accept(listener: socket.socket) -> socket.socket | None:
    """The next client, if it runs as the same user; unix(7), SO_PEERCRED."""
    try:
        channel, _ = listener.accept()
    except OSError:
        return None
    credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    if struct.unpack("3i", credentials)[1] != os.geteuid():
        channel.close()
        return None
    return channel
