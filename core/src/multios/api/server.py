"""The daemon's door: a thread a connection, the caller known by ``SO_PEERCRED`` (unix(7))."""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from multios.api.protocol import MAXIMUM_FRAME, PeerGone, close_all, receive_frame, send_frame
from multios.engine.caller import GROUP, Caller
from multios.errors import InvalidInput, MultiosError, Refused, Unavailable, nearest

log = logging.getLogger(__name__)
PROGRESS_SECONDS = 0.05
ACCEPT_AGAIN_SECONDS = 0.1
CONNECTIONS_A_USER = 256
"""An ordinary user may have so many at once: each costs a thread."""
LONGEST_METHOD = 100
LARGEST_NUMBER = (1 << 31) - 1
"""Also of seconds: what no clock can add up is refused."""
LARGEST_REQUEST = 1 << 20
"""Bytes of an ordinary user's request: with all his connections he cannot fill the daemon's memory."""
Handler = Callable[["Call"], Any]
Audit = Callable[[Caller, str, Mapping[str, Any], str, str], None]
"""Told of each authorised request: caller, method, parameters, ``ok``, ``begun`` or an error's code, its cause."""


def no_audit(caller: Caller, method: str, params: Mapping[str, Any], result: str, cause: str) -> None:
    """Nobody is told."""


def unanswered(call: Call) -> Any:
    """There is no server behind it."""
    raise Unavailable(f"{call.method}: nobody answers", "")


class Call:
    """One request on one connection: its parameters, its caller, and the ways to answer before the result."""

    def __init__(
        self, connection: socket.socket, caller: Caller, method: str, params: dict[str, Any], fds: list[int]
    ) -> None:
        self._connection = connection
        self._told: dict[str, float] = {}
        self.caller, self.method, self.params, self.fds = caller, method, params, fds
        self.audit: Audit = no_audit
        self.answered: Handler = unanswered
        """How a request of the same caller is answered that this one makes: see :mod:`multios.api.own_calls`."""

    def text(self, name: str, default: str | None = None) -> str:
        """A text parameter; one that is missing and has no default raises ``InvalidInput``."""
        return self._checked_text(name, self.params.get(name, default))

    def words(self, name: str) -> tuple[str, ...]:
        """A list of text, absent is empty."""
        value = self.params.get(name) or []
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return tuple(self._checked_text(name, word) for word in value)

    def number(self, name: str, most: int = LARGEST_NUMBER) -> int | None:
        """A whole number from 0 to ``most``, ``None`` when absent."""
        value = self.params.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most
        ):
            raise self._wrong(name, f"a whole number from 0 to {most}")
        return value

    def moment(self, name: str) -> float:
        """Seconds since the epoch, absent is 0."""
        value = self.params.get(name) or 0.0
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e18:
            raise self._wrong(name, "seconds since the epoch")
        return float(value)

    def flag(self, name: str) -> bool:
        """A boolean parameter, absent is false."""
        return bool(self.params.get(name, False))

    def mapping(self, name: str) -> dict[str, Any]:
        """An object parameter, absent is empty."""
        value = self.params.get(name) or {}
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return value

    def texts(self, name: str) -> dict[str, str]:
        """An object of text, absent is empty; numbers and booleans are taken as they would be written."""
        return {
            self._checked_text(name, key): self._checked_text(
                name, str(value).lower() if isinstance(value, (bool, int, float)) else value
            )
            for key, value in self.mapping(name).items()
        }

    def _checked_text(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(name, "text")
        try:
            os.fsencode(value)
        except UnicodeEncodeError:  # half a surrogate pair
            raise self._wrong(name, "text") from None
        return value

    def _wrong(self, name: str, expected: str) -> InvalidInput:
        return InvalidInput(f"{self.method}: {name!r} must be {expected}", "use a client of the same version")

    def descriptors(self, count: int) -> list[int]:
        """The request's descriptors, which must be so many."""
        if len(self.fds) != count:
            raise InvalidInput(
                f"{self.method}: {count} descriptors are needed, {len(self.fds)} came",
                "use a client of the same version",
            )
        return self.fds

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell how far it is; too frequent news of one thing are left out, and a client that is gone is no error."""
        now = time.monotonic()
        if now - self._told.get(what, 0.0) >= PROGRESS_SECONDS or (total and done >= total):
            self._told[what] = now
            with contextlib.suppress(PeerGone, OSError):
                self._send({"progress": {"what": what, "done": done, "total": total}})

    def item(self, value: Any, descriptors: list[int] | None = None) -> None:
        """One item of a stream, with descriptors that are closed here; a client that is gone raises ``PeerGone``."""
        try:
            self._send({"item": value}, descriptors or [])
        finally:
            close_all(descriptors or [])

    def attached(self, facts: dict[str, Any], descriptors: list[int]) -> None:
        """Hand stream ends to the client and close them here."""
        self.audit(self.caller, self.method, self.params, "begun", "")  # its end may be days away
        try:
            self._send({"attached": facts}, descriptors)
        finally:
            close_all(descriptors)

    def result(self, value: Any, descriptors: list[int] | None = None) -> None:
        """The final answer."""
        self._send({"result": value}, descriptors or [])

    def error(self, error: MultiosError) -> None:
        """The final answer when it failed."""
        self._send({"error": error.to_wire()})

    def alive(self) -> bool:
        """Whether the client is still there."""
        poll = select.poll()
        poll.register(self._connection, select.POLLRDHUP)
        return not poll.poll(0)

    def _send(self, message: Mapping[str, Any], descriptors: list[int] | None = None) -> None:
        send_frame(self._connection, dict(message), descriptors or [])


class Server:
    """Listens on a Unix socket and calls ``methods`` by name. ``authorize`` gives a reason to refuse, or ``None``."""

    def __init__(
        self,
        path: Path,
        methods: Mapping[str, Handler],
        authorize: Callable[[int, str, dict[str, Any]], str | None],
        audit: Audit = no_audit,
    ) -> None:
        self._path, self._methods, self._authorize, self._audit = path, methods, authorize, audit
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: dict[socket.socket, int] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.last_request = time.monotonic()

    def open(self) -> None:
        """Begin to listen: the socket appears whole, with its mode and group."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        try:
            self._listening.bind(str(temporary))
        except OSError as error:
            raise Unavailable(f"listening on {self._path}: {error}", "choose another exec_root") from error
        os.chmod(temporary, 0o660)
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(temporary, -1, grp.getgrnam(GROUP).gr_gid)
        self._listening.listen(512)
        os.rename(temporary, self._path)

    def serve(self) -> None:
        """Accept until :meth:`close`."""
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError as error:
                if self._closed:
                    return
                log.error("accepting a connection failed: %s", error)
                time.sleep(ACCEPT_AGAIN_SECONDS)  # descriptors or memory are short
                continue
            try:
                threading.Thread(
                    target=self._converse, args=(connection,), name="request", daemon=True
                ).start()
            except RuntimeError as error:  # no more threads
                log.error("a connection was refused: %s", error)
                connection.close()

    def close(self) -> None:
        """Stop listening and take the socket away."""
        self._closed = True
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    @property
    def is_idle(self) -> bool:
        """Whether nobody is connected."""
        return not self._connections

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._answer_all(connection)
        except (PeerGone, OSError):
            pass
        except Exception:
            log.exception("a connection failed")
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            self.last_request = time.monotonic()

    def _answer_all(self, connection: socket.socket) -> None:
        """Request after request; what is no frame is answered, and ends the connection."""
        try:
            caller = _peer(connection)
            with self._lock:
                others = list(self._connections.values()).count(caller.uid)
                self._connections[connection] = caller.uid
            if others >= CONNECTIONS_A_USER and not caller.is_administrator:
                raise Unavailable(f"user {caller.uid} has {others} connections", "end some of them")
            while True:
                self._answer(connection, caller)
        except PeerGone:
            raise
        except MultiosError as error:
            log.info("a connection ended: %s", error.cause)
            send_frame(connection, {"error": error.to_wire()})

    def _answer(self, connection: socket.socket, caller: Caller) -> None:
        try:
            largest = MAXIMUM_FRAME if caller.is_administrator else LARGEST_REQUEST
            message, fds = receive_frame(connection, largest)
        except RecursionError:
            raise InvalidInput("a frame is nested too deep", "see docs/architecture.md") from None
        self.last_request = time.monotonic()
        method, params = message.get("method"), message.get("params") or {}
        try:
            if not isinstance(method, str) or len(method) > LONGEST_METHOD or not isinstance(params, dict):
                raise InvalidInput("a request needs a method and params", "see docs/architecture.md")
            call = Call(connection, caller, method, params, fds)
            try:
                self._give(call, self._answered(call))
            except MultiosError as error:
                if isinstance(error, PeerGone):
                    raise
                call.error(error)
            except Exception as error:
                log.exception("%s failed", method)
                name = type(error).__name__
                call.error(
                    MultiosError(
                        f"{method} failed inside the engine ({name}: {error})", "see the daemon's log"
                    )
                )
        finally:
            close_all(fds)

    def _answered(self, call: Call) -> Any:
        """What the method answers, after the checks that every request passes."""
        call.answered = self._answered
        handler = self._methods.get(call.method)
        if handler is None:
            guess = nearest(call.method, list(self._methods))
            raise InvalidInput(
                f"no such method: {call.method!r}", f"did you mean {guess!r}?" if guess else ""
            )
        reason = self._authorize(call.caller.uid, call.method, call.params)
        if reason is not None:
            self._audit(call.caller, call.method, call.params, Refused.code, reason)
            raise Refused(reason, "ask the administrator")
        return self._audited(handler, call)

    @staticmethod
    def _give(call: Call, answer: Any) -> None:
        if isinstance(answer, WithDescriptors):
            try:
                call.result(answer.value, answer.descriptors)
            finally:
                close_all(answer.descriptors)
        else:
            call.result(answer)

    def _audited(self, handler: Handler, call: Call) -> Any:
        call.audit = self._audit
        try:
            answer = handler(call)
        except BaseException as error:
            code, cause = "failed", type(error).__name__
            if isinstance(error, MultiosError):
                code, cause = error.code, error.cause
            self._audit(call.caller, call.method, call.params, code, cause)
            raise
        self._audit(call.caller, call.method, call.params, "ok", "")
        return answer


class WithDescriptors:
    """A handler's answer that carries descriptors; they are closed when it has been sent."""

    def __init__(self, value: Any, descriptors: list[int]) -> None:
        self.value, self.descriptors = value, descriptors


def _peer(connection: socket.socket) -> Caller:
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", packed)
    return Caller(uid, gid, pid)
