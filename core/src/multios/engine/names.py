"""The daemon's side of the name server: what it shall know, and that it is there.

The resolver outlives the daemon; the next one takes it over. One that dies is started again with all that it knew.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from multios.errors import MultiosError, StepFailed, Unavailable
from multios.model.json import to_json
from multios.model.network import NamedEndpoint, Network
from multios.netlink.namespaces import inside
from multios.resolver.control import LARGEST, VERSION

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
INSIDE = "127.0.0.11"
"""Where names are asked for inside a container that reaches no gateway of ours."""
FALLBACK_RESOLVERS = ("1.1.1.1", "8.8.8.8")
_READY_SECONDS, _ANSWER_SECONDS, _WATCH_SECONDS, _RETRY_SECONDS = 10.0, 5.0, 2.0, 1.0
_MOST_SERVERS = 3  # resolv.conf(5), MAXNS
_PORT_ATTEMPTS = 50
_HOSTS_A_MESSAGE = 50

Learned = Callable[[str, str, tuple[str, ...], int], None]


class _Gone(Exception):
    """The resolver has ended."""


class Names:
    """Safe from any thread. Nothing is started before the first network is served.

    ``run`` is ``exec_root``. ``open_namespace(container_id)`` gives a descriptor of a running container's network
    namespace, or raises a ``MultiosError``. ``learned(endpoint_id, name, addresses, seconds)`` is called when a confined endpoint is
    about to be told addresses of a name that it may ask for; when it raises, the endpoint is not told.
    """

    def __init__(self, run: Path, learned: Learned, open_namespace: Callable[[str], int]) -> None:
        self._run, self._learned, self._open_namespace = run, learned, open_namespace
        self._lock = threading.RLock()
        self._ports: dict[str, int] = {}
        self._networks: dict[str, Network] = {}
        self._inside: set[str] = set()
        self._hosts: dict[str, NamedEndpoint] = {}
        self._link: _Link | None = None
        self._closing = False
        self._workers = ThreadPoolExecutor(2, "learned")

    def serve(self, network: Network) -> int:
        """Answer at the network's gateway; the port there, the same one as before if that is possible.

        The network's interface must have the gateway's address. Raises ``StepFailed`` or ``Unavailable``.
        """
        with self._lock:
            self._networks[network.id] = network
            return self._serve(network)

    def stop(self, network_id: str) -> None:
        """Answer no longer on a network; one that is not served is no error."""
        with self._lock:
            if self._networks.pop(network_id, None):
                self._ports.pop(network_id, None)
                self._request({"do": "stop", "network": network_id})

    def serve_inside(self, container_id: str, netns: int) -> None:
        """Answer a container at 127.0.0.11 of its own; again is no error, and does nothing while it is served.

        ``netns`` is a descriptor of its network namespace, and stays the caller's.
        """
        with self._lock:
            self._connected()  # the resolver may have it since the former daemon
            if container_id not in self._inside:
                self._serve_inside(container_id, netns)
                self._inside.add(container_id)

    def stop_inside(self, container_id: str) -> None:
        """Answer it no longer, so that its namespace can go; one that is not served is no error."""
        with self._lock:
            if container_id in self._inside:
                self._inside.discard(container_id)
                self._request({"do": "stop", "inside": container_id})

    def put(self, endpoint: NamedEndpoint) -> None:
        """Know an endpoint, or know it anew; on return it is found."""
        with self._lock:
            self._hosts[endpoint.endpoint_id] = endpoint
            self._request({"do": "put", "host": to_json(endpoint)})

    def remove(self, endpoint_id: str) -> None:
        """Forget an endpoint; an unknown one is no error."""
        with self._lock:
            if self._hosts.pop(endpoint_id, None):
                self._request({"do": "remove", "id": endpoint_id})

    def replace_all(self, endpoints: Iterable[NamedEndpoint]) -> None:
        """Know these and no others."""
        with self._lock:
            self._hosts = {endpoint.endpoint_id: endpoint for endpoint in endpoints}
            if self._networks or self._inside:
                self._tell_hosts()

    def close(self) -> None:
        """Let go of the resolver, which goes on."""
        with self._lock:
            self._closing = True
            if self._link:
                self._link.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def leave(self) -> None:
        """Send the resolver away."""
        with self._lock:
            self._closing = True
            if self._link:
                with suppress(_Gone):
                    self._link.request({"do": "leave"})

    # --- what it is told ----------------------------------------------------------------------------

    def _request(self, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> dict[str, Any]:
        """The answer; if the resolver ends over it, that of the next one, which knows all that this one knew."""
        with self._lock:
            for _ in range(2):
                try:
                    return self._connected().request(message, sockets)
                except _Gone:
                    self._link = None
        raise Unavailable("the name server of networks does not answer", "see the daemon's log")

    def _serve(self, network: Network) -> int:
        self._connected()  # it may know the port that the network had
        self._request({"do": "stop", "network": network.id})
        try:
            port, sockets = _listen(network, self._ports.get(network.id, 0))
        except OSError as error:
            raise StepFailed(
                f"serve names on network {network.name!r}", str(error), "run `multios-container doctor`"
            ) from error
        try:
            self._request({"do": "serve", "network": network.id, "port": port}, sockets)
        finally:
            for one in sockets:
                one.close()
        self._ports[network.id] = port
        return port

    def _serve_inside(self, container_id: str, netns: int) -> None:
        try:
            with inside(netns):
                sockets = _open_inside()
        except OSError as error:
            raise StepFailed(
                "serve names inside the container", str(error), "see the daemon's log"
            ) from error
        try:
            self._request({"do": "serve", "inside": container_id}, sockets)
        finally:
            for one in sockets:
                one.close()

    def _tell_hosts(self) -> None:
        rows = [to_json(host) for host in self._hosts.values()]
        parts = [rows[start : start + _HOSTS_A_MESSAGE] for start in range(0, len(rows), _HOSTS_A_MESSAGE)]
        for number, part in enumerate(parts or [[]], 1):
            self._request({"do": "replace", "hosts": part, "last": number >= len(parts)})

    # --- that it is there ---------------------------------------------------------------------------

    def _connected(self) -> _Link:
        if self._link is None:
            self._link, is_new = self._found() or self._started()
            self._link.watch(self._told, self._ended)
            if is_new:
                self._tell_everything()
        return self._link

    def _found(self) -> tuple[_Link, bool] | None:
        """The resolver that a former daemon has started, unless it speaks another version."""
        try:
            link = _Link.to(self._run / "resolver.sock")
        except OSError:
            return None
        try:
            known = link.hello()
        except _Gone:
            return None
        if known["version"] != VERSION:
            with suppress(_Gone):
                link.ask({"do": "leave"})
            link.close()
            return None
        self._ports = {**known["ports"], **self._ports}
        self._inside |= set(known["inside"])
        return link, False

    def _started(self) -> tuple[_Link, bool]:
        _spawn(self._run)
        link = _Link.to(self._run / "resolver.sock")
        try:
            link.hello()
        except _Gone:
            raise Unavailable("the name server of networks ended at once", "see the daemon's log") from None
        return link, True

    def _tell_everything(self) -> None:
        for network in list(self._networks.values()):
            try:
                self._serve(network)
            except StepFailed as error:  # the network is being made whole, or was taken away
                log.warning("%s: %s", error.step, error.cause)
        for container_id in sorted(self._inside):
            try:
                netns = self._open_namespace(container_id)
                try:
                    self._serve_inside(container_id, netns)
                finally:
                    os.close(netns)
            except MultiosError as error:  # it has just ended
                self._inside.discard(container_id)
                log.warning("%s: %s", container_id[:12], error.cause)
        if self._hosts:
            self._tell_hosts()

    def _told(self, link: _Link, told: dict[str, Any]) -> None:
        def learn() -> None:
            try:
                self._learned(told["endpoint"], told["name"], tuple(told["addresses"]), told["seconds"])
                done = True
            except Exception as error:
                log.warning("%s is not told to %s: %s", told["name"], told["endpoint"][:12], error)
                done = False
            link.say({"do": "learned", "token": told["token"], "done": done})

        with suppress(RuntimeError):  # closing
            self._workers.submit(learn)

    def _ended(self, link: _Link) -> None:
        """The resolver has died: containers must not wait for names until somebody asks for something."""
        while not self._closing:
            with self._lock:
                if self._closing or self._link is not link or not (self._networks or self._inside):
                    return
                self._link = None
                log.warning("the name server of networks has ended; starting it again")
                try:
                    self._connected()
                    return
                except Exception as error:
                    log.error("the name server of networks cannot be started: %s", error)
                    self._link = link
            time.sleep(_RETRY_SECONDS)


class _Link:
    """A connection to a resolver: requests one at a time, and a thread that reads."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._servers: list[str] = []
        self._stamp = (0.0, 0)

    @classmethod
    def to(cls, path: Path) -> _Link:
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
        """A request before :meth:`watch`. Raises ``_Gone``."""
        try:
            self._channel.send(json.dumps(message).encode())
            data = self._channel.recv(LARGEST)
        except OSError:
            raise _Gone from None
        if not data:
            raise _Gone
        answer: dict[str, Any] = json.loads(data)
        return answer

    def watch(self, told: Callable[[_Link, dict[str, Any]], None], ended: Callable[[_Link], None]) -> None:
        """Read in a thread from now on."""
        threading.Thread(target=self._read, args=(told, ended), name="names", daemon=True).start()

    def request(self, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> dict[str, Any]:
        """Send, and wait for the answer. Raises ``_Gone``."""
        try:
            descriptors = [one.fileno() for one in sockets]
            socket.send_fds(self._channel, [json.dumps(message).encode()], descriptors)
            answer = self._answers.get(timeout=_ANSWER_SECONDS)
        except (OSError, queue.Empty):
            self.close()
            raise _Gone from None
        if answer is None:
            raise _Gone
        return answer

    def say(self, message: dict[str, Any]) -> None:
        """Send what has no answer."""
        with suppress(OSError):
            self._channel.send(json.dumps(message).encode())

    def close(self) -> None:
        """Hang up; the thread ends."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def _read(self, told: Callable[[_Link, dict[str, Any]], None], ended: Callable[[_Link], None]) -> None:
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


def _listen(network: Network, wanted: int) -> tuple[int, list[socket.socket]]:
    """UDP and TCP sockets on one port number at each of the gateways, for what comes from the network only."""
    addresses = [address for address in (network.gateway, network.gateway6) if address]
    for attempt in range(_PORT_ATTEMPTS):
        port = wanted if not attempt else 0
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                port = _add_sockets(sockets, address, port, network.interface)
            return port, sockets
        except OSError as error:
            for one in sockets:
                one.close()
            if error.errno != errno.EADDRINUSE or attempt == _PORT_ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _open_inside() -> list[socket.socket]:
    """UDP and TCP sockets in the calling thread's namespace, a container's."""
    sockets: list[socket.socket] = []
    try:
        _add_sockets(sockets, INSIDE, 53)
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def _add_sockets(sockets: list[socket.socket], address: str, port: int, interface: str = "") -> int:
    """Add a UDP and a TCP socket on one port of an address; the port."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        sockets.append(one)
        if interface:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        if kind == socket.SOCK_STREAM:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((address, port))
        port = one.getsockname()[1]
        if kind == socket.SOCK_STREAM:
            one.listen(64)
    return port


def _spawn(run: Path) -> None:
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
