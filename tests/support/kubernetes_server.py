"""A Kubernetes API server of the tests' own, on loopback: real HTTP over :mod:`kubernetes_store`, with faults on demand."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_pods
from kubernetes_store import CLUSTER_WIDE, KINDS, Answer, Store, matches
from websocket_server import WebSocket

PATH = re.compile(
    r"/(?:api/v1|apis/[a-z0-9.]+/v1)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<part>log|exec|portforward))?)?"
)


@dataclass
class Request:
    """One request as it came."""

    at: float
    method: str
    path: str
    query: dict[str, str]

    @property
    def is_watch(self) -> bool:
        """Whether it opens a stream."""
        return self.query.get("watch") == "true"


@dataclass
class Server:
    """``fault`` may answer a request in the server's stead: status, reason, message and ``Retry-After``."""

    url: str
    store: Store = field(default_factory=Store)
    pods: kubernetes_pods.Pods = field(default_factory=kubernetes_pods.Pods)
    tokens: set[str] = field(default_factory=lambda: {"first"})
    version: tuple[str, str] = ("1", "37")
    requests: list[Request] = field(default_factory=list)
    fault: Callable[[Request], tuple[int, str, str, str] | None] = lambda request: None
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    """Method and plural that nobody may."""
    certificate: Path | None = None
    watches: int = 0
    bookmarked: int = 0
    """The version that the last bookmark told."""
    bookmark_seconds: float = 0.2
    nonsense: bytes | None = None
    """What lists are answered with, if it is something."""
    expires_in_stream: bool = False
    """Whether a version that is too old is said by an event, as servers do that remember some versions."""
    generation: int = 0
    """Watches that were opened before it grew end."""

    def kubeconfig(self, path: Path, token: str = "first", namespace: str = "") -> Path:
        """Written at ``path``, with the context ``school``."""
        context = {"cluster": "c", "user": "u", **({"namespace": namespace} if namespace else {})}
        trust = {"certificate-authority": str(self.certificate)} if self.certificate else {}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "school",
                    "clusters": [{"name": "c", "cluster": {"server": self.url, **trust}}],
                    "users": [{"name": "u", "user": {"token": token}}],
                    "contexts": [{"name": "school", "context": context}],
                }
            )
        )  # fmt: skip
        return path

    def end_watches(self) -> None:
        """As a server does after some minutes."""
        with self.store.changed:
            self.generation += 1
            self.store.changed.notify_all()

    def forget(self) -> None:
        """Versions so far are too old to go on from."""
        with self.store.changed:
            self.store.oldest = self.store.version
            self.generation += 1
            self.store.changed.notify_all()

    def changes(self) -> list[Request]:
        """The requests that may change something."""
        return [request for request in self.requests if request.method != "GET"]


@contextlib.contextmanager
def running(certificate: Path | None = None, key: Path | None = None) -> Iterator[Server]:
    """A server until the block ends; with a certificate it speaks TLS."""
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http_server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        http_server.socket = tls.wrap_socket(http_server.socket, server_side=True)
        scheme = "https"
    server = Server(f"{scheme}://127.0.0.1:{http_server.server_port}", certificate=certificate)
    http_server.api = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=http_server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.end_watches()
        server.pods.end()
        http_server.shutdown()
        http_server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *arguments: object) -> None:
        pass

    @property
    def api(self) -> Server:
        """The server's state."""
        server: Server = self.server.api  # type: ignore[attr-defined]
        return server

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        request = Request(
            time.monotonic(), self.command, parts.path, dict(urllib.parse.parse_qsl(parts.query))
        )
        self.api.requests.append(request)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._check(request)
            self._serve(request, body, parts.query)
        except Answer as answer:
            retry_after = answer.body["details"].pop("retryAfter", "")
            self._send(answer.code, answer.body, retry_after)

    def _check(self, request: Request) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in self.api.tokens:
            raise Answer(401, "Unauthorized", "Unauthorized")
        if fault := self.api.fault(request):
            code, reason, message, retry_after = fault
            raise Answer(code, reason, message, retryAfter=retry_after)

    def _serve(self, request: Request, body: bytes, query: str) -> None:
        if request.path == "/version":
            self._send(200, {"major": self.api.version[0], "minor": self.api.version[1]})
            return
        match = PATH.fullmatch(request.path)
        if not match or match["plural"] not in KINDS:
            raise Answer(404, "NotFound", "the server could not find the requested resource")
        plural, namespace, name = match["plural"], match["namespace"] or "", match["name"] or ""
        asked = f"{plural}/{match['part']}" if match["part"] else plural
        if (request.method, asked) in self.api.forbidden:
            raise Answer(
                403, "Forbidden", f'{asked} is forbidden: User "ada" cannot {request.method} {asked}'
            )
        if plural not in CLUSTER_WIDE and name and not namespace:
            raise Answer(404, "NotFound", "the server could not find the requested resource")
        place = (plural, namespace, name)
        if match["part"]:
            self._inside(request, place, match["part"], urllib.parse.parse_qsl(query, keep_blank_values=True))
        elif request.method == "DELETE":
            self._send(200, self.api.store.delete(place))
        elif request.method == "PATCH":
            self._apply(request, place, body)
        elif name:
            self._get(place)
        elif request.is_watch:
            self._watch(request, plural, namespace)
        else:
            self._list(request, plural, namespace)

    def _apply(self, request: Request, place: tuple[str, str, str], body: bytes) -> None:
        if self.headers.get("Content-Type") != "application/apply-patch+yaml":
            raise Answer(415, "UnsupportedMediaType", "only apply patches are known here")
        if not request.query.get("fieldManager"):
            raise Answer(400, "BadRequest", "fieldManager is required for apply patch")
        asked = json.loads(body)
        if (asked["kind"], asked["apiVersion"]) != KINDS[place[0]] or asked["metadata"]["name"] != place[2]:
            raise Answer(400, "BadRequest", "the object does not match the URL")
        if asked["metadata"].get("namespace", "") != place[1]:
            raise Answer(400, "BadRequest", "the namespace of the provided object does not match the request")
        force = request.query.get("force") == "true"
        made, is_new = self.api.store.apply(place[0], place[1], asked, request.query["fieldManager"], force)
        self._send(201 if is_new else 200, made)

    def _get(self, place: tuple[str, str, str]) -> None:
        with self.api.store.lock:
            found = self.api.store.objects.get(place)
        if found is None:
            raise Answer(404, "NotFound", f'{place[0]} "{place[2]}" not found')
        self._send(200, found)

    def _list(self, request: Request, plural: str, namespace: str) -> None:
        store = self.api.store
        with store.lock:
            items = store.select(plural, namespace, request.query.get("labelSelector", ""))
            version = str(store.version)
        begin, limit = (
            int(request.query.get("continue") or 0),
            int(request.query.get("limit") or 0) or len(items),
        )
        metadata: dict[str, Any] = {"resourceVersion": version}
        if begin + limit < len(items):
            metadata["continue"] = str(begin + limit)
        page = items[begin : begin + limit]
        if "PartialObjectMetadataList" in (self.headers.get("Accept") or ""):
            page = [{"metadata": item["metadata"]} for item in page]
        self._send(200, {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page})

    def _watch(self, request: Request, plural: str, namespace: str) -> None:
        store, selector = self.api.store, request.query.get("labelSelector", "")
        since, generation = int(request.query["resourceVersion"]), self.api.generation
        expired = Answer(410, "Expired", f"too old resource version: {since} ({store.oldest})")
        if since < store.oldest and not self.api.expires_in_stream:
            raise expired
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if since < store.oldest:
            self._event("ERROR", expired.body)
            self._chunk(b"")
            return
        self.api.watches += 1
        try:
            while self.api.generation == generation:
                with store.changed:
                    new = [event for event in store.history if event[0] > since]
                    if not new:
                        store.changed.wait(self.api.bookmark_seconds)
                        new = [event for event in store.history if event[0] > since]
                    version = store.version
                self._tell(new, plural, namespace, selector, version)
                since = max([since, *(event[0] for event in new)])
            self._chunk(b"")
        except OSError:
            pass  # whoever watched is gone
        finally:
            self.api.watches -= 1
            self.close_connection = True

    def _inside(
        self, request: Request, place: tuple[str, str, str], part: str, query: list[tuple[str, str]]
    ) -> None:
        with self.api.store.lock:
            found = self.api.store.objects.get(place)
        pod = kubernetes_pods.check(found, place[2], request.query)
        pods = self.api.pods
        if part == "log":
            self._log(request, place, pod)
            return
        if self.headers.get("Upgrade") != "websocket":
            raise Answer(400, "BadRequest", "Upgrade request required")
        if part == "exec":
            known = (kubernetes_pods.V5, kubernetes_pods.V4) if pods.has_v5 else (kubernetes_pods.V4,)
            pods.execute(WebSocket(self, known), query, pod)
        else:
            pods.forward(WebSocket(self, (kubernetes_pods.V4,)), int(request.query["ports"]))

    def _log(self, request: Request, place: tuple[str, str, str], pod: dict[str, Any]) -> None:
        pods, generation, begin = self.api.pods, self.api.generation, 0
        pods.begin(pod)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pods.logs += 1
        try:
            while True:
                live = self.api.store.objects.get(place)
                lines, begin = pods.lines(place[2], request.query, begin)
                for line in lines:
                    self._chunk(line)
                is_over = live is None or live["status"]["phase"] != "Running"
                if request.query.get("follow") != "true" or is_over or self.api.generation != generation:
                    break
                with pods.changed:
                    pods.changed.wait(0.05)
            self._chunk(b"")
        except OSError:
            pass  # whoever followed is gone
        finally:
            pods.logs -= 1
            self.close_connection = True

    def _tell(self, new: list[Any], plural: str, namespace: str, selector: str, version: int) -> None:
        for _, kind, of, item in new:
            if (
                of == plural
                and namespace in ("", item["metadata"].get("namespace", ""))
                and matches(item, selector)
            ):
                self._event(kind, item)
        if not new:
            bookmark = {"kind": KINDS[plural][0], "metadata": {"resourceVersion": str(version)}}
            self._event("BOOKMARK", bookmark)
            self.api.bookmarked = version

    def _event(self, kind: str, item: dict[str, Any]) -> None:
        self._chunk(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _send(self, code: int, body: dict[str, Any], retry_after: str = "") -> None:
        is_list = body.get("kind") == "List"
        data = self.api.nonsense if is_list and self.api.nonsense is not None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(data)
