"""The first process of a running container, read through one descriptor of its directory in /proc (proc(5))."""

from __future__ import annotations

import os
import re

from multios.errors import Conflict
from multios.model.container import Container

LARGEST = 4_000_000
"""Bytes of one file that are read: what a container may make long is cut there."""


class LiveProcess:
    """Every answer is of one and the same process: a number that the kernel gives away again is noticed.

    ``Conflict`` when it has ended. To be closed.
    """

    def __init__(self, container: Container) -> None:
        self.pid = container.pid
        self._name = container.name
        try:
            self._directory = os.open(f"/proc/{container.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._gone() from error
        if container.cgroup and container.cgroup.strip("/") not in self.text("cgroup"):
            self.close()
            raise self._gone()

    def close(self) -> None:
        """Let go of it."""
        os.close(self._directory)

    def text(self, name: str) -> str:
        """A file of its directory; one that this kernel lacks is empty."""
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(LARGEST).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise self._gone() from error

    def namespace(self, kind: str) -> int | None:
        """The number of one of its namespaces (namespaces(7)); ``None`` for a kind that this kernel lacks."""
        try:
            return os.stat(f"ns/{kind}", dir_fd=self._directory).st_ino
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._gone() from error

    def open(self, name: str) -> int:
        """A descriptor of a file of its directory, the caller's."""
        try:
            return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
        except OSError as error:
            raise self._gone() from error

    def status(self) -> dict[str, str]:
        """proc_pid_status(5): name to value."""
        rows = (line.partition(":") for line in self.text("status").splitlines())
        return {name: value.strip() for name, _, value in rows}

    def _gone(self) -> Conflict:
        return Conflict(f"container {self._name!r} has just ended", "ask again")


def unescape(path: str) -> str:
    """A path as mountinfo writes it: blanks and the like are octal there."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
