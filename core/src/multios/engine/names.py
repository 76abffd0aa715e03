"""The daemon's side of the name server: what it shall know, and that it is there.

The resolver outlives the daemon; the next one takes it over. One that dies is started again with all that it knew.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from multios.engine.name_sockets import listen, open_inside
from multios.engine.resolver_process import Gone, Link, spawn
from multios.errors import MultiosError, StepFailed, Unavailable
from multios.model.json import to_json
from multios.model.network import NamedEndpoint, Network
from multios.netlink.namespaces import done_inside
from multios.resolver.control import VERSION

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_HOSTS_A_MESSAGE = 50

Learned = Callable[[str, str, tuple[str, ...], int], None]


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
        self._link: Link | None = None
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
            if self._link is None and (found := self._found()):  # it may be served since the former daemon
                self._adopt(*found)
            if container_id in self._inside:
                self._inside.discard(container_id)
                self._request({"do": "stop", "inside": container_id})
                self._inside.discard(container_id)  # a resolver that was found only now may have told of it

    def keep_inside(self, container_ids: Iterable[str]) -> None:
        """Answer inside no other containers than these."""
        with self._lock:
            for container_id in self._inside.difference(container_ids):
                self.stop_inside(container_id)

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
                with suppress(Gone):
                    self._link.request({"do": "leave"})

    # --- what it is told ----------------------------------------------------------------------------

    def _request(self, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> dict[str, Any]:
        """The answer; if the resolver ends over it, that of the next one, which knows all that this one knew."""
        with self._lock:
            for _ in range(2):
                try:
                    return self._connected().request(message, sockets)
                except Gone:
                    self._link = None
        raise Unavailable("the name server of networks does not answer", "see the daemon's log")

    def _serve(self, network: Network) -> int:
        self._connected()  # it may know the port that the network had
        self._request({"do": "stop", "network": network.id})
        try:
            port, sockets = listen(network, self._ports.get(network.id, 0))
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
            sockets = done_inside(netns, open_inside)
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

    def _connected(self) -> Link:
        if self._link is None:
            self._adopt(*(self._found() or self._started()))
        assert self._link is not None
        return self._link

    def _adopt(self, link: Link, is_new: bool) -> None:
        self._link = link
        link.watch(self._told, self._ended)
        if is_new:
            self._tell_everything()

    def _found(self) -> tuple[Link, bool] | None:
        """The resolver that a former daemon has started, unless it speaks another version."""
        try:
            link = Link.to(self._run / "resolver.sock")
        except OSError:
            return None
        try:
            known = link.hello()
        except Gone:
            return None
        if known["version"] != VERSION:
            with suppress(Gone):
                link.ask({"do": "leave"})
            link.close()
            return None
        self._ports = {**known["ports"], **self._ports}
        self._inside |= set(known["inside"])
        return link, False

    def _started(self) -> tuple[Link, bool]:
        spawn(self._run)
        link = Link.to(self._run / "resolver.sock")
        try:
            link.hello()
        except Gone:
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

    def _told(self, link: Link, told: dict[str, Any]) -> None:
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

    def _ended(self, link: Link) -> None:
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
