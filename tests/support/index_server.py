"""A web server on loopback with the files of a folder: open or behind a password, with or without TLS."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

USER, PASSWORD = "student", "se:cret"
_EXPECTED = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass
class IndexServer:
    """A running server. ``redirects`` lead from a path to an address, ``cut`` are paths whose answers end too early."""

    address: str = ""
    redirects: dict[str, str] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Path and Authorization header of each request."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *words: object, server_of: IndexServer, has_password: bool, directory: str) -> None:
        self._told, self._has_password = server_of, has_password
        super().__init__(*words, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        self._told.seen.append((self.path, given))
        if self.path in self._told.redirects:
            self.send_response(302)
            self.send_header("Location", self._told.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self._has_password and given != _EXPECTED:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="school"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path in self._told.cut:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(
    folder: Path, *, has_password: bool = False, certificate: tuple[Path, Path] | None = None
) -> Iterator[IndexServer]:
    """Serve until the block ends; ``certificate`` and its key make it speak TLS."""
    told = IndexServer()
    handler = functools.partial(_Handler, server_of=told, has_password=has_password, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    told.address = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
