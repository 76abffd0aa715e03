"""Debian's docker-registry on loopback: open, behind a password, behind TLS, or behind a token server."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_ports import free_port

PROGRAM = shutil.which("docker-registry") or "/usr/bin/docker-registry"
USER, PASSWORD = "student", "secret"
_HTPASSWD = f"{USER}:$2b$04$VgSEXTRMkaCCQC1PrOtxl.KWmXoBslOzLmtDjyXpufP6lXBT3nGza\n"
"""What htpasswd -B makes of the password above."""


@dataclass
class Registry:
    """A running registry: ``host`` is ``127.0.0.1:port``; ``certificate`` is what signs it, if it speaks TLS."""

    host: str
    directory: Path
    process: subprocess.Popen[bytes]
    certificate: Path | None = None

    @property
    def log(self) -> str:
        """What it has written: a line a request."""
        return (self.directory / "log").read_text()

    def requests(self, method: str, part: str) -> int:
        """How many requests of a method were made for addresses with ``part`` in them."""
        return sum(1 for line in self.log.splitlines() if f'"{method} ' in line and part in line)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    found, key = directory / "tls.crt", directory / "tls.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test registry"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(found)),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return found, key


@contextlib.contextmanager
def registry(
    directory: Path, *, password: bool = False, tls: bool = False, token_server: TokenServer | None = None
) -> Iterator[Registry]:
    """A registry that keeps its images below ``directory`` and ends with the block."""
    directory.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
        "http": {"addr": host},
    }
    crt: Path | None = None
    if tls:
        crt, key = certificate(directory)
        settings["http"]["tls"] = {"certificate": str(crt), "key": str(key)}
    if password:
        (directory / "htpasswd").write_text(_HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "school", "path": str(directory / "htpasswd")}}
    if token_server is not None:
        settings["auth"] = {
            "token": {
                "realm": token_server.realm,
                "service": "registry",
                "issuer": "tests",
                "rootcertbundle": str(token_server.certificate),
            }
        }
    (directory / "settings.yml").write_text(json.dumps(settings))  # JSON is YAML
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "serve", str(directory / "settings.yml")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
            env={"OTEL_TRACES_EXPORTER": "none", "HOME": str(directory)},
        )  # fmt: skip
    try:
        _wait_for(host, process, directory)
        yield Registry(host, directory, process, crt)
    finally:
        process.kill()
        process.wait()


def _wait_for(host: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    address, _, port = host.partition(":")
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((address, int(port)), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((directory / "log").read_text()) from None
            time.sleep(0.02)


class TokenServer:
    """Gives tokens (distribution's token specification): to anybody for pulls, to the user for everything."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate, self._key = certificate(directory)
        self.scopes: list[str] = []
        self.realm = ""

    @contextlib.contextmanager
    def serving(self) -> Iterator[TokenServer]:
        """Serve until the block ends."""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.realm = f"http://127.0.0.1:{server.server_port}/token"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
        given = handler.headers.get("Authorization", "")
        known = given == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if given and not known:
            handler.send_response(401)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self.scopes += query.get("scope", [])
        body = json.dumps({"token": self._token(query.get("scope", []), known)}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _token(self, scopes: list[str], known: bool) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = [action for action in actions.split(",") if known or action == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        lines = self.certificate.read_text().splitlines()
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines[1:-1])]}
        now = int(time.time())
        claims = {"iss": "tests", "sub": USER if known else "", "aud": "registry", "access": access}
        claims |= {"exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1"}
        signed = f"{_encoded(header)}.{_encoded(claims)}"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=signed.encode(), capture_output=True, check=True,
        ).stdout  # fmt: skip
        return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _encoded(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
