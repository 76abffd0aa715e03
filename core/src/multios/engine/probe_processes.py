"""The process of a health probe: started inside, its output kept, and killed with all that it has started."""

from __future__ import annotations

import os
import secrets
import signal
from dataclasses import dataclass, field
from pathlib import Path

from multios.drivers.isolation import IsolationDriver
from multios.engine import execution
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.model.container import Container

OUTPUT_KEPT = 4096
VARIABLE = "MULTIOS_HEALTH_PROBE"
"""Environment of every process of a probe: by it those are known that have left their parents."""
_MARK = "-health-"
_LONGEST_ENVIRONMENT = 4 << 20
_ROUNDS = 20


@dataclass(slots=True)
class ProbeProcess:
    """One that was started; ``reading`` is the end of the pipe that it writes to."""

    exec_id: str
    pid: int
    reading: int
    output: bytes = field(default=b"")

    def read(self) -> bool:
        """Take what has been written, the first :data:`OUTPUT_KEPT` bytes to keep; whether there was anything."""
        try:
            part = os.read(self.reading, 65536)
        except BlockingIOError:
            return False
        self.output += part[: OUTPUT_KEPT - len(self.output)]
        return bool(part)

    def close(self) -> None:
        """Take the rest, and nothing more: what it has left running may hold the pipe for ever."""
        self.read()
        os.close(self.reading)


def start(
    containers: Containers, drivers: Drivers, container: Container, command: tuple[str, ...]
) -> ProbeProcess:
    """Start a probe in a running container. Errors are those of an exec."""
    exec_id = f"{container.id[:12]}{_MARK}{secrets.token_hex(8)}"
    request = execution.ExecRequest(command, environment={VARIABLE: exec_id}, exec_id=exec_id)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(reading, False)
        with open(os.devnull, "rb") as nothing:
            streams = (nothing.fileno(), writing, writing)
            _, launched = execution.execute(containers, drivers, container, request, streams)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return ProbeProcess(exec_id, launched.pid, reading)


def is_probe(process_id: str) -> bool:
    """Whether a process of the supervisor's is a probe's."""
    return _MARK in process_id


def kill(isolation: IsolationDriver, container_id: str, exec_id: str, pid: int) -> None:
    """Kill a probe, its descendants, and what has left them.

    All are stopped first, until no further one is found, so that none can start another meanwhile.
    """
    stopped: set[_Process] = set()
    try:
        for _ in range(_ROUNDS):
            found = _members(isolation.processes(container_id), exec_id, pid) - stopped
            if not found:
                return
            stopped |= found
            for one in found:
                _signal(one, signal.SIGSTOP)
    finally:
        for one in stopped:
            _signal(one, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class _Process:
    """Its pid and when it began tell a process from any other that gets its pid (proc_pid_stat(5))."""

    pid: int
    parent: int = field(compare=False)
    began: int


def _signal(process: _Process, number: int) -> None:
    """Signal that process and no other."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if _read(process.pid) == process:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _members(pids: tuple[int, ...], exec_id: str, pid: int) -> set[_Process]:
    """Those of a container's processes that are a probe's: by descent, or by their environment."""
    mark = f"{VARIABLE}={exec_id}".encode()
    every = [one for number in pids if (one := _read(number)) is not None]
    found = {one for one in every if one.pid == pid or mark in _environment(one.pid).split(b"\0")}
    while True:
        known = {one.pid for one in found}
        further = {one for one in every if one.parent in known} - found
        if not further:
            return found
        found |= further


def _read(pid: int) -> _Process | None:
    """A process that has not ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return _Process(pid, int(words[1]), int(words[19])) if words and words[0] not in (b"Z", b"X") else None


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read(_LONGEST_ENVIRONMENT)
    except OSError:
        return b""
