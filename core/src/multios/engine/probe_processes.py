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


def start(containers: Containers, drivers: Drivers, container: Container) -> ProbeProcess:
    """Start the probe of a running container. Errors are those of an exec."""
    assert container.probe is not None
    exec_id = f"{container.id[:12]}{_MARK}{secrets.token_hex(8)}"
    request = execution.ExecRequest(container.probe.command, environment={VARIABLE: exec_id}, exec_id=exec_id)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    try:
        _, launched = execution.execute(containers, drivers, container, request, (nothing, writing, writing))
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(nothing)
        os.close(writing)
    return ProbeProcess(exec_id, launched.pid, reading)


def is_probe(process_id: str) -> bool:
    """Whether a process of the supervisor's is a probe's."""
    return _MARK in process_id


def kill(isolation: IsolationDriver, container_id: str, exec_id: str, pid: int) -> None:
    """Kill a probe, its descendants, and what has left them.

    All are stopped first, until no further one is found, so that none can start another meanwhile.
    """
    held: dict[int, int] = {}
    try:
        for _ in range(_ROUNDS):
            found = _members(isolation.processes(container_id), exec_id, pid) - held.keys()
            if not found:
                break
            for one in found:
                try:
                    held[one] = os.pidfd_open(one)
                    signal.pidfd_send_signal(held[one], signal.SIGSTOP)
                except ProcessLookupError:
                    continue
        for descriptor in held.values():
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            except ProcessLookupError:
                continue
    finally:
        for descriptor in held.values():
            os.close(descriptor)


def _members(pids: tuple[int, ...], exec_id: str, pid: int) -> set[int]:
    """Those of a container's processes that are a probe's: by descent, or by their environment."""
    mark = f"{VARIABLE}={exec_id}".encode()
    parents = {one: parent for one in pids if (parent := _parent(one)) is not None}
    found = {one for one in parents if one == pid or mark in _environment(one).split(b"\0")}
    while further := {one for one, parent in parents.items() if parent in found} - found:
        found |= further
    return found


def _parent(pid: int) -> int | None:
    """Of a process that has not ended (proc_pid_stat(5))."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(words[1]) if words and words[0] not in (b"Z", b"X") else None


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read(_LONGEST_ENVIRONMENT)
    except OSError:
        return b""
