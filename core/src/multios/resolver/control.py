"""Obeying the daemon: JSON messages and descriptors over a ``SOCK_SEQPACKET`` socket, one daemon at a time.

============ ================================================= ==========================================
``do``       beside                                            answer
============ ================================================= ==========================================
``hello``    ``version``                                       ``{"version", "ports": {network: port}, "inside": [container]}``
``serve``    ``network`` and ``port``, or ``inside``, sockets  ``{}``
``stop``     ``network`` or ``inside``                         ``{}``
``put``      ``host``                                          ``{}``
``remove``   ``id``                                            ``{}``
``replace``  ``hosts``, ``last``: in several parts             ``{}``
``upstream`` ``servers``                                       none
``leave``                                                      ``{}``, then it ends
``learned``  ``token``, ``done``                               none: it answers a ``learned`` of ours
============ ================================================= ==========================================
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from multios.resolver.loop import Loop
from multios.resolver.service import Service
from multios.resolver.upstream import Upstream
from multios.resolver.zones import Host, Zones

VERSION = 2
LARGEST = 128 * 1024
MOST_DESCRIPTORS = 4


class Control:
    """The listening socket and the daemon that is connected."""

    def __init__(self, loop: Loop, listening: socket.socket, zones: Zones) -> None:
        self._loop, self._listening, self._zones = loop, listening, zones
        self._daemon: socket.socket | None = None
        self._waiting: dict[int, Callable[[bool], None]] = {}
        self._tokens = 0
        self._staged: list[Host] = []
        self._upstream = Upstream(loop)
        self._service = Service(loop, zones, self._upstream, self._tell_learned)
        listening.setblocking(False)
        loop.add(listening.fileno(), self._accept)

    def _accept(self, events: int) -> None:
        connection, _ = self._listening.accept()
        self._forget_daemon()  # the newest counts: the former is dead or dying
        self._daemon = connection
        self._loop.add(connection.fileno(), lambda events: self._ready(connection))

    def _forget_daemon(self) -> None:
        if self._daemon is not None:
            self._loop.remove(self._daemon.fileno())
            self._daemon.close()
            self._daemon = None
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done(False)

    def _ready(self, connection: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(connection, LARGEST, MOST_DESCRIPTORS)
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._forget_daemon()
            if not self._service.is_asked:
                self._loop.stop()
            return
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        message = json.loads(data)
        if message["do"] == "learned":
            done = self._waiting.pop(message["token"], None)
            if done:
                done(message["done"])
            return
        answer = getattr(self, f"_do_{message['do']}")(message, sockets)
        if message["do"] != "upstream":
            connection.send(json.dumps(answer or {}).encode())

    # --- what it does -------------------------------------------------------------------------------

    def _do_hello(self, message: dict[str, Any], sockets: list[socket.socket]) -> dict[str, Any]:
        return {"version": VERSION, "ports": self._service.ports, "inside": sorted(self._service.inside)}

    def _do_serve(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        if "inside" in message:
            self._service.serve_inside(message["inside"], sockets)
        else:
            self._service.serve(message["network"], message["port"], sockets)

    def _do_stop(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        if "inside" in message:
            self._service.stop_inside(message["inside"])
        else:
            self._service.stop(message["network"])

    def _do_put(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        self._zones.put(_host(message["host"]))

    def _do_remove(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        self._zones.remove(message["id"])

    def _do_replace(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        self._staged += [_host(item) for item in message["hosts"]]
        if message["last"]:
            self._zones.replace(self._staged)
            self._staged = []

    def _do_upstream(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        self._upstream.servers = tuple(message["servers"])

    def _do_leave(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        self._loop.stop()

    def _tell_learned(
        self, host: Host, name: str, addresses: tuple[str, ...], seconds: int, done: Callable[[bool], None]
    ) -> None:
        if self._daemon is None:
            done(False)
            return
        self._tokens += 1
        self._waiting[self._tokens] = done
        told = {
            "token": self._tokens,
            "endpoint": host.endpoint_id,
            "name": name,
            "addresses": addresses,
            "seconds": seconds,
        }
        try:
            self._daemon.send(json.dumps({"learned": told}).encode(), socket.MSG_DONTWAIT)
        except OSError:
            self._waiting.pop(self._tokens)(False)


def _host(document: dict[str, Any]) -> Host:
    domains = document["domains"]
    return Host(
        **{
            **document,
            "addresses": tuple(document["addresses"]),
            "names": tuple(document["names"]),
            "upstream": tuple(document["upstream"]),
            "domains": None if domains is None else tuple(domains),
        }
    )
