"""The resolver as the daemon sees it: started, and spoken to over its control socket."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from multios.errors import Unavailable
from multios.resolver.control import LARGEST, VERSION

RESOLV_CONF = Path("/etc/resolv.conf")
FALLBACK_RESOLVERS = ("1.1.1.1", "8.8.8.8")
_READY_SECONDS, _ANSWER_SECONDS, _WATCH_SECONDS = 10.0, 5.0, 2.0
_MOST_SERVERS = 3  # resolv.conf(5), MAXNS


class Gone(Exception):
    """The resolver has ended."""


class Link:
    """A connection to a resolver: requests one at a time, and a thread that reads."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._servers: list[str] = []
        self._stamp = (0.0, 0)

    @classmethod
    def to(cls, path: Path) -> Link:
        """Connect; ``OSError`` when nobody listens."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            channel.connect(str(path))
        except BaseException:
            channel.close()
            raise
        channel.settimeout(_WATCH_SECONDS)
        return cls(channel)

    def hello(self) -> dict[str, Any]:
        """What the resolver says of itself, before it is watched."""
        known = self.ask({"do": "hello", "version": VERSION})
        self._tell_servers()
        return known

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """A request before :meth:`watch`. Raises ``Gone``."""
        try:
            self._channel.send(json.dumps(message).encode())
            data = self._channel.recv(LARGEST)
        except OSError:
            raise Gone from None
        if not data:
            raise Gone
        answer: dict[str, Any] = json.loads(data)
        return answer

    def watch(self, told: Callable[[Link, dict[str, Any]], None], ended: Callable[[Link], None]) -> None:
        """Read in a thread from now on."""
        threading.Thread(target=self._read, args=(told, ended), name="names", daemon=True).start()

    def request(self, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> dict[str, Any]:
        """Send, and wait for the answer. Raises ``Gone``."""
        try:
            descriptors = [one.fileno() for one in sockets]
            socket.send_fds(self._channel, [json.dumps(message).encode()], descriptors)
            answer = self._answers.get(timeout=_ANSWER_SECONDS)
        except (OSError, queue.Empty):
            self.close()
            raise Gone from None
        if answer is None:
            raise Gone
        return answer

    def say(self, message: dict[str, Any]) -> None:
        """Send what has no answer."""
        with suppress(OSError):
            self._channel.send(json.dumps(message).encode())

    def close(self) -> None:
        """Hang up; the thread ends."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def _read(self, told: Callable[[Link, dict[str, Any]], None], ended: Callable[[Link], None]) -> None:
        while True:
            try:
                data = self._channel.recv(LARGEST)
            except TimeoutError:
                self._tell_servers()
                continue
            except OSError:
                data = b""
            if not data:
                break
            message = json.loads(data)
            if "learned" in message:
                told(self, message["learned"])
            else:
                self._answers.put(message)
        self._answers.put(None)
        ended(self)
        self._channel.close()

    def _tell_servers(self) -> None:
        """Tell the host's name servers if they are others than before."""
        try:
            status = RESOLV_CONF.stat()
            stamp = (status.st_mtime, status.st_ino)
        except OSError:
            stamp = (1.0, 0)
        if stamp != self._stamp:
            self._stamp = stamp
            servers = _host_servers()
            if servers != self._servers:
                self._servers = servers
                self.say({"do": "upstream", "servers": servers})


def _host_servers() -> list[str]:
    try:
        lines = [line.split() for line in RESOLV_CONF.read_text().splitlines()]
    except OSError:
        lines = []
    found = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    return (found or list(FALLBACK_RESOLVERS))[:_MOST_SERVERS]


def spawn(run: Path) -> None:
    """Start a resolver; on return it listens. posix_spawn(3) and not fork: the daemon is big and has threads."""
    empty = run / "empty"
    empty.mkdir(mode=0o555, exist_ok=True)
    path = run / "resolver.sock"
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ready, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(4)
        log_mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-m", "multios.resolver.main", str(empty)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, listening.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, theirs, 1),
                (os.POSIX_SPAWN_OPEN, 2, str(run / "resolver.log"), log_mode, 0o640),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=[signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM],
        )
    except OSError as error:
        os.close(ready)
        raise Unavailable(f"cannot start the name server of networks: {error}") from None
    finally:
        listening.close()
        os.close(theirs)
    threading.Thread(target=_bury, args=(pid,), name="resolver", daemon=True).start()
    try:
        if not select.select([ready], [], [], _READY_SECONDS)[0] or os.read(ready, 16) != b"ready":
            raise Unavailable("the name server of networks does not start", f"see {run / 'resolver.log'}")
    finally:
        os.close(ready)


def _bury(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
