"""Answering containers: over UDP and TCP, at each network's gateway, or inside containers that reach none of ours."""

from __future__ import annotations

import ipaddress
import random
import select
import socket
import time
from collections.abc import Callable

from multios.resolver import wire
from multios.resolver.loop import Loop
from multios.resolver.upstream import Upstream
from multios.resolver.wire import Query
from multios.resolver.zones import Host, Zones

TTL = 5
"""Seconds that an answer of ours may be kept: a container that was replaced is found soon."""
IDLE_SECONDS = 10.0
MOST_STREAMS = 256
MOST_STREAMS_A_PLACE = 64
_AT_ONCE = 64
_LARGEST_STREAM = 65535

Reply = Callable[[bytes], None]
Asker = Callable[[str], Host | None]
"""Who asks from this address at a socket."""
Learned = Callable[[Host, str, tuple[str, ...], int, Callable[[bool], None]], None]
"""Tells the daemon what a confined endpoint was told, and is told whether it may be."""


class Service:
    """The sockets of every network that is served."""

    def __init__(self, loop: Loop, zones: Zones, upstream: Upstream, learned: Learned) -> None:
        self._loop, self._zones, self._upstream, self._learned = loop, zones, upstream, learned
        self._sockets: dict[tuple[str, str], list[socket.socket]] = {}
        self.ports: dict[str, int] = {}
        """Served networks, and the port at their gateways."""
        self.inside: set[str] = set()
        """Containers with sockets of ours inside."""
        self._streams: dict[int, _Stream] = {}
        loop.every_tick(self._tick)

    @property
    def is_asked(self) -> bool:
        """Whether anybody could ask."""
        return bool(self._sockets)

    def serve(self, network_id: str, port: int, sockets: list[socket.socket]) -> None:
        """Answer at a network's gateway, at these sockets, and no longer at former ones of it."""
        self.ports[network_id] = port
        self._serve(("network", network_id), sockets, lambda source: self._zones.asker(network_id, source))

    def stop(self, network_id: str) -> None:
        """Close a network's sockets; one that is not served is no error."""
        self.ports.pop(network_id, None)
        self._stop(("network", network_id))

    def serve_inside(self, container_id: str, sockets: list[socket.socket]) -> None:
        """Answer a container at sockets in its own namespace: whoever asks there is the container."""
        self.inside.add(container_id)
        self._serve(("inside", container_id), sockets, lambda source: self._zones.of_container(container_id))

    def stop_inside(self, container_id: str) -> None:
        """Close a container's sockets, which else would keep its namespace; one that has none is no error."""
        self.inside.discard(container_id)
        self._stop(("inside", container_id))

    def _serve(self, place: tuple[str, str], sockets: list[socket.socket], asker: Asker) -> None:
        self._stop(place)
        self._sockets[place] = sockets
        for one in sockets:
            one.setblocking(False)
            if one.type == socket.SOCK_DGRAM:
                self._loop.add(one.fileno(), lambda events, one=one: self._datagrams(asker, one))  # type: ignore[misc]
            else:
                self._loop.add(one.fileno(), lambda events, one=one: self._accept(place, asker, one))  # type: ignore[misc]

    def _stop(self, place: tuple[str, str]) -> None:
        for one in self._sockets.pop(place, []):
            self._loop.remove(one.fileno())
            one.close()
        for stream in [item for item in self._streams.values() if item.place == place]:
            stream.close()

    # --- sockets ------------------------------------------------------------------------------------

    def _datagrams(self, asker: Asker, one: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, source = one.recvfrom(4096)
            except OSError:  # no more of them, or the interface has gone
                return
            self.handle(asker(source[0]), data, False, _sender(one, source))

    def _accept(self, place: tuple[str, str], asker: Asker, one: socket.socket) -> None:
        try:
            connection, source = one.accept()
        except OSError:  # it has hung up
            return
        near = sum(item.place == place for item in self._streams.values())
        if len(self._streams) >= MOST_STREAMS or near >= MOST_STREAMS_A_PLACE:
            connection.close()
            return
        stream = _Stream(self, self._loop, place, connection, lambda: asker(source[0]), self._streams)
        self._streams[connection.fileno()] = stream

    def _tick(self) -> bool:
        now = time.monotonic()
        for stream in [item for item in self._streams.values() if item.deadline < now]:
            stream.close()
        return bool(self._streams)

    # --- answers ------------------------------------------------------------------------------------

    def handle(self, asker: Host | None, data: bytes, stream: bool, reply: Reply) -> None:
        """Answer one message of somebody, if it is known who; what is no query gets an error or silence."""
        try:
            query = wire.read_query(data)
        except wire.Malformed:
            refusal = wire.format_error(data)
            if refusal:
                reply(refusal)
            return
        size = _LARGEST_STREAM if stream else query.size

        def say(code: int, records: list[tuple[int, bytes]] | None = None) -> None:
            reply(wire.answer(query, code, records or [], TTL, size))

        if asker is None or query.klass != wire.INTERNET:
            say(wire.REFUSED)
        elif not query.is_standard:
            say(wire.NOT_IMPLEMENTED)
        elif hosts := self._zones.look_up(asker, query.name):
            say(wire.NO_ERROR, _records(hosts, query.kind))
        elif (address := wire.reversed_address(query.name)) and (host := self._zones.reverse(asker, address)):
            pointer = [(wire.PTR, wire.name_data(host.names[0]))] if query.kind == wire.PTR else []
            say(wire.NO_ERROR, pointer)
        elif "." not in query.name or (address and ipaddress.ip_address(address).is_private):
            say(wire.NO_SUCH_NAME)  # nobody outside knows it either
        elif not asker.outside:
            say(wire.NO_SUCH_NAME)
        elif not asker.may_ask_for(query.name):
            say(wire.REFUSED)
        else:
            self._forward(asker, query, data, stream, reply, say)

    def _forward(
        self,
        asker: Host,
        query: Query,
        data: bytes,
        stream: bool,
        reply: Reply,
        say: Callable[[int], None],
    ) -> None:
        def answered(answer: bytes | None) -> None:
            if answer is None:
                say(wire.SERVER_FAILURE)
            elif asker.domains is None:
                reply(answer)
            else:
                self._tell_first(asker, query, answer, reply, say)

        self._upstream.ask(data, query.question, asker.upstream, stream, asker.endpoint_id, answered)

    def _tell_first(
        self, asker: Host, query: Query, answer: bytes, reply: Reply, say: Callable[[int], None]
    ) -> None:
        """A confined endpoint gets an address only when it may be reached."""
        try:
            addresses, seconds = wire.read_addresses(answer, query.question)
        except wire.Malformed:
            say(wire.SERVER_FAILURE)
            return
        if not addresses:
            reply(answer)
            return
        self._learned(
            asker,
            query.name,
            addresses,
            seconds,
            lambda done: reply(answer) if done else say(wire.SERVER_FAILURE),
        )


class _Stream:
    """A TCP connection of a container: queries one after another, each behind its length (RFC 7766)."""

    def __init__(
        self,
        service: Service,
        loop: Loop,
        place: tuple[str, str],
        connection: socket.socket,
        asker: Callable[[], Host | None],
        streams: dict[int, _Stream],
    ) -> None:
        self._service, self._loop, self._streams = service, loop, streams
        self.place, self._connection, self._asker = place, connection, asker
        self._incoming, self._outgoing = bytearray(), bytearray()
        self.deadline = time.monotonic() + IDLE_SECONDS
        connection.setblocking(False)
        loop.add(connection.fileno(), self._ready)

    def close(self) -> None:
        """Hang up."""
        descriptor = self._connection.fileno()
        if descriptor >= 0:
            self._loop.remove(descriptor)
            self._streams.pop(descriptor, None)
            self._connection.close()

    def _ready(self, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._flush()
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                part = self._connection.recv(_LARGEST_STREAM)
                if not part:
                    self.close()
                    return
                self._incoming += part
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self.deadline = time.monotonic() + IDLE_SECONDS
        self._take()

    def _take(self) -> None:
        while len(self._incoming) >= 2:
            length = int.from_bytes(self._incoming[:2], "big")
            if len(self._incoming) < 2 + length:
                return
            data = bytes(self._incoming[2 : 2 + length])
            del self._incoming[: 2 + length]
            self._service.handle(self._asker(), data, True, self._reply)

    def _reply(self, data: bytes) -> None:
        if self._connection.fileno() < 0:
            return
        if len(self._outgoing) > 4 * _LARGEST_STREAM:  # it asks and does not read
            self.close()
            return
        self._outgoing += len(data).to_bytes(2, "big") + data
        try:
            self._flush()
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def _flush(self) -> None:
        if self._outgoing:
            sent = self._connection.send(self._outgoing)
            del self._outgoing[:sent]
        events = select.EPOLLIN | (select.EPOLLOUT if self._outgoing else 0)
        self._loop.change(self._connection.fileno(), events)


def _sender(one: socket.socket, source: tuple[str, int]) -> Reply:
    def send(data: bytes) -> None:
        try:
            one.sendto(data, source)
        except OSError:  # its queue is full, it has gone, or the network is served no longer
            pass

    return send


def _records(hosts: list[Host], kind: int) -> list[tuple[int, bytes]]:
    """The addresses of that kind, in an order that differs from time to time."""
    found = [wire.host_record(address) for host in hosts for address in host.addresses]
    chosen = [record for record in found if record[0] == kind]
    if len(chosen) > 1:
        random.shuffle(chosen)
    return chosen
