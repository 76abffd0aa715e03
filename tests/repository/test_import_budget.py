"""What a client imports is counted: its start is most of what a user waits for."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

FORBIDDEN = (
    "pluggy", "stevedore", "pyroute2", "click", "dataclasses", "typing", "importlib.metadata", "asyncio", "sqlite3",
    "ctypes", "argparse", "multios.engine", "multios.model", "multios.drivers", "multios.plugins", "multios.store",
    "multios.supervisor", "multios.hookspecs", "multios_net_bridge", "multios_isolation_ns",
)  # fmt: skip
BUDGET = 45
"""Modules beyond those of an idle interpreter."""

PROGRAM = """
import sys
before = set(sys.modules)
from multios.cli.main import main
status = main()
print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
sys.exit(status)
"""


class ListeningDaemon:
    """Answers every request with an empty list."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            while header := connection.recv(4, socket.MSG_WAITALL):
                connection.recv(struct.unpack(">I", header)[0], socket.MSG_WAITALL)
                answer = json.dumps({"result": []}).encode()
                connection.sendall(struct.pack(">I", len(answer)) + answer)


@pytest.fixture
def imported(tmp_path: Path) -> set[str]:
    ListeningDaemon(tmp_path / "s")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "ps"],
        env={**os.environ, "MULTIOS_SOCKET": str(tmp_path / "s")}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CONTAINER ID" in done.stdout
    return set(done.stderr.split())


def test_ps_imports_nothing_heavy(imported: set[str]) -> None:
    heavy = {
        name
        for name in imported
        if name in FORBIDDEN or name.startswith(tuple(f"{word}." for word in FORBIDDEN))
    }
    assert not heavy


def test_ps_stays_within_its_budget(imported: set[str]) -> None:
    assert len(imported) <= BUDGET, sorted(imported)
