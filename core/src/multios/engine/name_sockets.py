"""The sockets at which containers ask for names: opened by the daemon, which has the rights, for the resolver, which has none."""

from __future__ import annotations

import errno
import socket

from multios.model.network import Network

INSIDE = "127.0.0.11"
"""Where names are asked for inside a container that reaches no gateway of ours."""
_PORT = 53
_PORT_ATTEMPTS = 50


def listen(network: Network, wanted: int) -> tuple[int, list[socket.socket]]:
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


def open_inside() -> list[socket.socket]:
    """UDP and TCP sockets in the calling thread's namespace, a container's."""
    sockets: list[socket.socket] = []
    try:
        _add_sockets(sockets, INSIDE, _PORT)
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
