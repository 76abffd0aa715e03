"""The client's side of the API socket: what the command line and users of the Python interface call.

>>> from multios import connect
>>> with connect() as client:                                           # doctest: +SKIP
...     print(client.run(image="debian:12", command=["uname", "-r"]).stdout)
"""

from __future__ import annotations

import _socket
import os

from multios.api.protocol import PeerGone, close_all, receive_frame, send_frame
from multios.errors import MultiosError, Refused, Unavailable, from_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Any, Self

    from multios.api.capture import Finished

    Progress = Callable[[dict[str, Any]], None]

DEFAULT_EXEC_ROOT = "/run/multios/containers"


def socket_path() -> str:
    """Where the daemon listens: ``MULTIOS_SOCKET``, else ``api.sock`` in ``MULTIOS_EXEC_ROOT`` or its default.

    For an ordinary user who names neither that is the system's daemon if he may use it, else his own.
    """
    if named := os.environ.get("MULTIOS_SOCKET"):
        return named
    exec_root = os.environ.get("MULTIOS_EXEC_ROOT")
    if not exec_root and os.geteuid():
        from multios.rootless.roots import choose_exec_root  # deferred: root has one daemon only

        exec_root = choose_exec_root(os.environ)
    return f"{exec_root or DEFAULT_EXEC_ROOT}/api.sock"


def connect(socket: str | None = None, start: bool = True) -> Client:
    """A client of the daemon at ``socket`` (default: see :func:`socket_path`).

    If nobody answers and ``start`` is true, root's or the user's own daemon is started on demand, unless a socket
    was named: who names one has a daemon in mind. Raises ``Unavailable`` or ``Refused``.
    """
    client = Client(socket, start)
    client.open()
    return client


class NobodyAnswers(Unavailable):
    """No daemon is there, and none was to be started."""


class Client:
    """One connection to the daemon; requests go one after another. For one thread at a time.

    A daemon that was replaced between two requests is not noticed, nor one that died before it had read a request
    without descriptors: the client connects again.
    """

    def __init__(self, path: str | None = None, start: bool = True) -> None:
        self.path = path or socket_path()
        self.start = start and not path and not os.environ.get("MULTIOS_SOCKET")
        self._socket: _socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a request under way is abandoned."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def open(self) -> _socket.socket:
        """The connection, made anew where there is none or the daemon has closed it."""
        if self._socket is not None and _closed_by_peer(self._socket):
            self.close()
        if self._socket is None:
            self._socket = _connect(self.path, self.start)
        return self._socket

    def request(self, method: str, params: dict[str, Any] | None = None, fds: Sequence[int] = ()) -> Answers:
        """Send a request; its answers are read from what is returned, to the end, before the next request."""
        message = {"method": method, "params": params or {}}
        try:
            return Answers(self, self._send(message, fds), message if not fds else None)
        except PeerGone as error:
            if not error.unread:
                raise
        return Answers(self, self._send(message, fds))

    def _send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> _socket.socket:
        sock = self.open()
        try:
            send_frame(sock, message, fds)
        except MultiosError as error:
            refusal = _last_word(sock) if isinstance(error, PeerGone) else None
            self.close()
            raise refusal or error from None
        return sock

    def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        fds: Sequence[int] = (),
        on_progress: Progress | None = None,
    ) -> Any:
        """The result of ``method``; descriptors that come with it are closed. Raises what the daemon raised."""
        answers = self.request(method, params, fds)
        for kind, value, received in answers:
            close_all(received)
            if kind == "progress" and on_progress is not None:
                on_progress(value)
        return answers.result

    def stream(self, method: str, params: dict[str, Any] | None = None) -> Iterator[Any]:
        """The items of ``method`` as they come. Close the client to end it early."""
        for kind, value, received in self.request(method, params):
            close_all(received)
            if kind == "item":
                yield value

    def run(self, config: dict[str, Any] | None = None, input: bytes = b"", **fields: Any) -> Finished:
        """Run a container to its end and collect its output: ``client.run(image="debian:12", command=["true"])``.

        ``config`` and ``fields`` are the container document. The container is removed afterwards unless
        ``auto_remove=False``.
        """
        from multios.api.capture import run  # deferred: a command line copies streams itself

        return run(self, {"auto_remove": True, **(config or {}), **fields}, input)

    def exec(self, ref: str, command: Sequence[str], input: bytes = b"", **params: Any) -> Finished:
        """Run ``command`` in the running container ``ref`` to its end and collect its output."""
        from multios.api.capture import execute

        return execute(self, {**params, "ref": ref, "command": list(command)}, input)


def _last_word(sock: _socket.socket) -> MultiosError | None:
    """Why the daemon has closed the connection, if it said so: it does not read a request that is too large."""
    try:
        message, fds = receive_frame(sock)
    except MultiosError:
        return None
    close_all(fds)
    return from_wire(message["error"]) if "error" in message else None


class Answers:
    """The answers to one request: an iterator over ``(kind, value, descriptors)`` that ends with the final one.

    ``kind`` is ``progress``, ``item`` or ``attached``. Afterwards ``result`` and ``fds`` are the final answer's,
    the descriptors the caller's to close. An ``error`` is raised.
    """

    def __init__(self, client: Client, sock: _socket.socket, again: dict[str, Any] | None = None) -> None:
        """``again`` is the request if it may be sent once more to the next daemon when this one never read it."""
        self._client = client
        self._socket = sock
        self._again = again
        self.result: Any = None
        self.fds: list[int] = []
        self.finished = False

    def __iter__(self) -> Iterator[tuple[str, Any, list[int]]]:
        while (answer := self.next()) is not None:
            yield answer

    def fileno(self) -> int:
        """What to poll: readable when :meth:`next` has something to read."""
        return self._socket.fileno()

    def next(self) -> tuple[str, Any, list[int]] | None:
        """The next answer, or ``None`` after the final one. Raises ``PeerGone`` when the daemon went away."""
        if self.finished:
            return None
        try:
            message, fds = self._receive()
        except MultiosError:
            self._client.close()
            raise
        if "error" in message:
            self.finished = True
            close_all(fds)
            raise from_wire(message["error"])
        if "result" in message:
            self.finished = True
            self.result, self.fds = message["result"], fds
            return None
        kind = next((name for name in ("progress", "item", "attached") if name in message), "")
        return kind, message.get(kind), fds

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        again, self._again = self._again, None
        try:
            return receive_frame(self._socket)
        except PeerGone as error:
            if again is None or not error.unread:
                raise
        self._client.close()
        self._socket = self._client._send(again)
        return receive_frame(self._socket)


def _closed_by_peer(sock: _socket.socket) -> bool:
    try:
        return not sock.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _connect(path: str, start: bool) -> _socket.socket:
    try:
        return try_connect(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        pass
    except PermissionError:
        raise Refused(
            f"you may not use the daemon's socket {path}",
            'ask the administrator to add you to its group: sudo usermod -aG multios "$USER"',
        ) from None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}", "check MULTIOS_SOCKET or --socket") from None
    if not start:
        raise NobodyAnswers(f"no daemon answers at {path}", "start it: sudo multios-containerd --daemon")
    if os.geteuid() != 0 and not _is_own(os.path.dirname(path)):
        raise Unavailable(
            f"no daemon answers at {path}",
            "ask the administrator to start it: sudo multios-containerd --daemon; or have your own: "
            "MULTIOS_ROOTLESS=1",
        )
    from multios.api.on_demand import start_daemon  # deferred: only the first command of a boot needs it

    return start_daemon(path)


def _is_own(exec_root: str) -> bool:
    """Whether an ordinary user's own daemon belongs there: the directory is his, or is not there yet."""
    try:
        return os.lstat(exec_root).st_uid == os.geteuid()
    except FileNotFoundError:
        return exec_root != DEFAULT_EXEC_ROOT
    except OSError:
        return False


def try_connect(path: str) -> _socket.socket:
    """A connection to the Unix socket at ``path``. Raises ``OSError``."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


__all__ = ["Answers", "Client", "NobodyAnswers", "PeerGone", "connect", "socket_path"]
