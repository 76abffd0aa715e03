"""The web server of the tests' containers: what starts it, and asking whether it answers."""

from __future__ import annotations

import socket
from pathlib import Path

from private_engine import PrivateEngine, eventually

SERVER = ("httpd", "-f", "-p", "80", "-h", "/etc")
"""busybox's web server; ``/etc/greeting`` in the image says hello."""
ASK = "printf 'GET /greeting HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {} {}"
"""Ask at an address and port from inside a container; Debian's busybox has no wget that resolves names.

Five seconds, because TCP tries again after one and after three (RFC 6298).
"""


def await_servers(engine: PrivateEngine, *names: str, port: int = 80) -> None:
    """Wait until containers listen at a port (proc(5), /proc/pid/net/tcp): a process that runs need not yet."""
    for name in names:
        tables = [
            Path(f"/proc/{engine.inspect(name)['State']['Pid']}/net/{table}") for table in ("tcp", "tcp6")
        ]
        eventually(lambda tables=tables: any(_listens(table, port) for table in tables), f"{name} listens")


def _listens(table: Path, port: int) -> bool:
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether it answers at an address and port, as this process reaches them."""
    try:
        with socket.create_connection((host, port), 2) as connection:
            connection.sendall(b"GET /greeting HTTP/1.0\r\n\r\n")
            return b"hello" in connection.makefile("rb").read()
    except OSError:
        return False
