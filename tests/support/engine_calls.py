"""A daemon's API for drivers under test, from any thread: what :class:`multios.drivers.base.Calls` asks for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multios.api.client import Client


class EngineCalls:
    """A connection a thread to the daemon at ``socket``."""

    def __init__(self, socket: Path) -> None:
        self.uid = os.geteuid()
        self._socket, self._local = str(socket), threading.local()

    def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """The result of ``method``."""
        if not hasattr(self._local, "client"):
            self._local.client = Client(self._socket)
        return self._local.client.call(method, params)

    def stream(self, method: str, params: dict[str, Any] | None = None) -> Iterator[Any]:
        """The items of ``method``."""
        with Client(self._socket) as client:
            yield from client.stream(method, params)

    def rest(self, seconds: float) -> None:
        """Sleep: somebody always wants the answers."""
        time.sleep(seconds)
