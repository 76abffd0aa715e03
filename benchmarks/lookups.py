"""A client that asks a name server for addresses over UDP (RFC 1035), as quickly as it answers."""

from __future__ import annotations

import select
import socket
import statistics
import struct
import time
from contextlib import ExitStack
from ipaddress import IPv4Address

from multios.testing.network_box import Namespace

PORT = 53
PATIENCE = 1.0
"""Seconds after which an answer counts as lost."""
_ADDRESS, _INTERNET = 1, 1
_RECURSION_DESIRED = 0x0100
_HEADER = struct.Struct(">HHHHHH")


class Asker:
    """Asks ``server`` for ``name`` from inside ``place``; every answer must hold ``address``."""

    def __init__(self, place: Namespace, server: str, name: str, address: str) -> None:
        self._place, self._server, self._name = place, server, name
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        self._question = labels + b"\0" + struct.pack(">HH", _ADDRESS, _INTERNET)
        self._wanted = IPv4Address(address).packed

    def one_after_another(self, count: int) -> float:
        """The median time of one look-up, in milliseconds."""
        one, times = self._socket(), []
        with one:
            for number in range(count):
                begin = time.perf_counter()
                self._ask(one, number)
                data = one.recv(512)
                times.append(time.perf_counter() - begin)
                self._check(data, number)
        return statistics.median(times) * 1000

    def a_second(self, outstanding: int, seconds: float) -> float:
        """Answers a second with ``outstanding`` questions under way all the time, each from a port of its own."""
        with ExitStack() as ending:
            poll = ending.enter_context(select.epoll())
            sockets: dict[int, socket.socket] = {}
            asked: dict[int, int] = {}
            for _ in range(outstanding):
                one = ending.enter_context(self._socket())
                sockets[one.fileno()] = one
                poll.register(one.fileno(), select.EPOLLIN)
                asked[one.fileno()] = 0
                self._ask(one, 0)
            count, begin = 0, time.perf_counter()
            while time.perf_counter() < begin + seconds:
                ready = poll.poll(PATIENCE)
                if not ready:
                    raise RuntimeError(f"{self._server} does not answer any more")
                for descriptor, _ in ready:
                    one = sockets[descriptor]
                    self._check(one.recv(512), asked[descriptor])
                    count += 1
                    asked[descriptor] = count & 0xFFFF
                    self._ask(one, asked[descriptor])
            return count / (time.perf_counter() - begin)

    def _socket(self) -> socket.socket:
        with self._place.entered():
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.settimeout(PATIENCE)
        one.connect((self._server, PORT))
        return one

    def _ask(self, one: socket.socket, number: int) -> None:
        one.send(_HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + self._question)

    def _check(self, data: bytes, number: int) -> None:
        """Raise unless it answers that question with the address."""
        answered, flags, _, records, _, _ = _HEADER.unpack_from(data)
        if (answered, flags & 0xF) != (number, 0) or not records or self._wanted not in data:
            raise RuntimeError(f"{self._server} did not answer {self._name}: {data.hex(' ')}")
