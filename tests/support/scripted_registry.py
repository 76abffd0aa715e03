"""A registry on loopback that does what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

from registry_box import MANIFEST, SmallImage


class Request(http.server.BaseHTTPRequestHandler):
    """One request, with ways to answer."""

    protocol_version = "HTTP/1.1"
    server: Any

    def answer(self, status: int, body: bytes = b"", length: int | str | None = None, **headers: str) -> None:
        """Answer with a body; ``length`` is what is said of it."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self) -> None:
        """Break the connection off."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()

    def do_GET(self) -> None:
        self.server.registry.handle(self)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

    def log_message(self, *_: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that leaves is no error here."""


class ScriptedRegistry:
    """Serves ``image`` as ``lab/image:1``; a handler in ``scripts`` whose key is in a path answers instead."""

    def __init__(self, image: SmallImage | None = None) -> None:
        self.image = image or SmallImage()
        self.scripts: dict[str, Callable[[Request], None]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.host = ""

    @property
    def reference(self) -> str:
        """The image's name."""
        return f"{self.host}/lab/image:1"

    def paths(self, part: str) -> list[str]:
        """The asked paths with ``part`` in them, in order."""
        return [path for _, path, _ in self.asked if part in path]

    def headers(self, name: str) -> list[str]:
        """What was sent in one header, request by request, absent ones left out."""
        return [headers[name] for _, _, headers in self.asked if name in headers]

    @contextlib.contextmanager
    def serving(self) -> Iterator[ScriptedRegistry]:
        """Serve until the block ends."""
        server = _Server(("127.0.0.1", 0), Request)
        server.registry = self  # type: ignore[attr-defined]
        self.host = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def handle(self, request: Request) -> None:
        self.asked.append((request.command, request.path, dict(request.headers)))
        for part, script in self.scripts.items():
            if part in request.path:
                return script(request)
        self.serve(request)

    def serve(self, request: Request) -> None:
        """Answer as a good registry."""
        target = request.path.rpartition("/")[2]
        if "/manifests/" in request.path and target == "1":
            request.answer(200, self.image.data, Content_Type=MANIFEST)
        elif target in self.image.blobs:
            self._serve_blob(request, self.image.blobs[target])
        else:
            request.answer(404, b'{"errors":[{"code":"UNKNOWN","message":"unknown to this registry"}]}')

    def _serve_blob(self, request: Request, data: bytes) -> None:
        start = request.headers.get("Range", "")
        if start.startswith("bytes="):
            first = int(start[6:].rstrip("-"))
            request.answer(206, data[first:], Content_Range=f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            request.answer(200, data)
