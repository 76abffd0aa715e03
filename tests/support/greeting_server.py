"""The web server of the tests' containers: what starts it, and asking whether it answers."""

from __future__ import annotations

import socket

SERVER = ("httpd", "-f", "-p", "80", "-h", "/etc")
"""busybox's web server; ``/etc/greeting`` in the image says hello."""
ASK = "printf 'GET /greeting HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {} {}"
"""Ask at an address and port from inside a container; Debian's busybox has no wget that resolves names."""


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether it answers at an address and port, as this process reaches them."""
    try:
        with socket.create_connection((host, port), 2) as connection:
            connection.sendall(b"GET /greeting HTTP/1.0\r\n\r\n")
            return b"hello" in connection.makefile("rb").read()
    except OSError:
        return False
