"""What a client imports is counted: its start is most of what a user waits for."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

FORBIDDEN = (
    "pluggy", "stevedore", "pyroute2", "click", "dataclasses", "typing", "importlib.metadata", "asyncio", "sqlite3",
    "ctypes", "argparse", "multios.engine", "multios.model", "multios.drivers", "multios.plugins", "multios.store",
    "multios.supervisor", "multios.hookspecs", "multios_net_bridge", "multios_isolation_ns",
)  # fmt: skip
FORBIDDEN_TO_APPS = (
    "re",
    "enum",
    "functools",
    "json",
    "socket",
    "threading",
    "yaml.reader",
    "yaml.constructor",
)
BUDGET, APP_BUDGET = 45, 65
"""Modules beyond those of an idle interpreter."""
COMPOSE_FILE = """
services:
  web:
    image: small:1
    ports: ["8080:80"]
    environment: {DEBUG: "1"}
    healthcheck: {test: [CMD, "true"], interval: 5s}
    depends_on: [database]
  database:
    image: small:1
    volumes: [data:/data]
volumes: {data: {}}
"""

PROGRAM = """
import sys
before = set(sys.modules)
from multios.cli.main import main
status = main()
print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
sys.exit(status)
"""


class ListeningDaemon:
    """Answers every request with an empty list, but says that every image is there."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            while header := connection.recv(4, socket.MSG_WAITALL):
                request = json.loads(connection.recv(struct.unpack(">I", header)[0], socket.MSG_WAITALL))
                images = dict.fromkeys(request["params"].get("references", ()), "sha256:0")
                answer = json.dumps({"result": images or []}).encode()
                connection.sendall(struct.pack(">I", len(answer)) + answer)


def imported_by(tmp_path: Path, *words: str) -> tuple[set[str], str]:
    """The modules that a command imports, and what it prints."""
    ListeningDaemon(tmp_path / "s")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, "MULTIOS_SOCKET": str(tmp_path / "s")}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split()), done.stdout


def heavy(imported: set[str], forbidden: Sequence[str]) -> set[str]:
    """Those of the ``forbidden`` modules, and what is in them, that were imported."""
    prefixes = tuple(f"{word}." for word in forbidden)
    return {name for name in imported if name in forbidden or name.startswith(prefixes)}


@pytest.fixture
def imported(tmp_path: Path) -> set[str]:
    modules, printed = imported_by(tmp_path, "ps")
    assert "CONTAINER ID" in printed
    return modules


@pytest.fixture
def imported_by_up(tmp_path: Path) -> set[str]:
    (tmp_path / "compose.yaml").write_text(COMPOSE_FILE)
    return imported_by(tmp_path, "app", "-f", str(tmp_path / "compose.yaml"), "up", "-d")[0]


def test_ps_imports_nothing_heavy(imported: set[str]) -> None:
    assert not heavy(imported, FORBIDDEN)


def test_ps_stays_within_its_budget(imported: set[str]) -> None:
    assert len(imported) <= BUDGET, sorted(imported)


def test_app_up_imports_nothing_heavy(imported_by_up: set[str]) -> None:
    assert not heavy(imported_by_up, (*FORBIDDEN, *FORBIDDEN_TO_APPS))


def test_app_up_stays_within_its_budget(imported_by_up: set[str]) -> None:
    assert len(imported_by_up) <= APP_BUDGET, sorted(imported_by_up)
