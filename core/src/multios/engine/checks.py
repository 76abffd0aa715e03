"""Checks inside a running container: a command run there, its output read, and whether it is as it should be."""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from multios.engine import execution
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.exits import Exits
from multios.engine.template_builds import verdict
from multios.errors import MultiosError
from multios.model.container import Container
from multios.model.template import SERVICES_PROGRAM, Check

LARGEST_OUTPUT = 1 << 20
"""Of a command's output so much is kept, its end."""
SERVICES_SECONDS = 120
_ASK_SECONDS = 0.5
_LAST_LINES = 8


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command inside ended: ``status`` is ``None`` when it was killed because its time was over."""

    status: int | None
    output: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check; ``cause`` is empty when it holds, ``last`` are the last lines of its output."""

    name: str
    cause: str
    hint: str
    last: tuple[str, ...]
    seconds: float


class Inside:
    """Runs commands in one container. ``wanted`` says whether anybody still waits for what comes of them."""

    def __init__(
        self,
        containers: Containers,
        drivers: Drivers,
        exits: Exits,
        container: Container,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._containers, self._drivers, self._exits = containers, drivers, exits
        self._container, self._wanted = container, wanted

    def run(
        self, command: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
    ) -> Ran:
        """Run ``command`` to its end, or kill it after ``timeout`` seconds. Errors are those of an exec."""
        return self.executed(execution.ExecRequest(tuple(command), environment=environment), timeout)

    def executed(self, request: execution.ExecRequest, timeout: float = math.inf) -> Ran:
        """The same for what is asked with more than a command."""
        container = self._containers.running(self._container)
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writing, True)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            exec_id, launched = execution.execute(
                self._containers, self._drivers, container, request, (nothing, writing, writing)
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(nothing)
            os.close(writing)
        try:
            output, in_time = self._watched(launched.pid, reading, time.monotonic() + timeout)
        finally:
            os.close(reading)
        status = self._exits.wait_for_exec(exec_id, lambda: True)
        return Ran((125 if status is None else status) if in_time else None, output)

    def _watched(self, pid: int, reading: int, end: float) -> tuple[str, bool]:
        """The output until the process has ended, and whether it did so by itself.

        What it has left running may hold the pipe open for ever, so its end is not waited for.
        """
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return _drained(reading, b""), True
        try:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            poll.register(reading, select.POLLIN)
            output = b""
            while True:
                ready = {descriptor for descriptor, _ in poll.poll(_ASK_SECONDS * 1000)}
                if reading in ready:
                    part = os.read(reading, 65536)
                    if not part:
                        poll.unregister(reading)
                    output = (output + part)[-LARGEST_OUTPUT:]
                if process in ready:
                    return _drained(reading, output), True
                if time.monotonic() > end or not self._wanted():
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    return _drained(reading, output), False
        finally:
            os.close(process)

    # --- what is asked with it ----------------------------------------------------------------------

    def check(self, check: Check) -> Outcome:
        """Run one check."""
        began = time.monotonic()
        try:
            ran = self.run(check.command, check.timeout)
        except MultiosError as error:
            return Outcome(check.name, error.cause, check.hint, (), time.monotonic() - began)
        cause = verdict(check, ran.status, ran.output)
        return Outcome(
            check.name, cause, check.hint if cause else "", last_lines(ran.output), time.monotonic() - began
        )

    def services(self, seconds: int = SERVICES_SECONDS) -> Outcome:
        """Wait until the template's services are ready, for so long at most."""
        began = time.monotonic()
        cause = ""
        last: tuple[str, ...] = ()
        try:
            ran = self.run((SERVICES_PROGRAM, "wait", str(seconds)), seconds + 30)
            last = last_lines(ran.output)
            if ran.status != 0:
                cause = f"not ready within {seconds} s"
        except MultiosError as error:
            cause = error.cause
        hint = "each service's own output is in the container's log" if cause else ""
        return Outcome("services are ready", cause, hint, last, time.monotonic() - began)


def last_lines(output: str) -> tuple[str, ...]:
    """The last lines that say something."""
    return tuple(line.rstrip()[:300] for line in output.splitlines() if line.strip())[-_LAST_LINES:]


def _drained(reading: int, output: bytes) -> str:
    """With what is in the pipe already."""
    while True:
        try:
            part = os.read(reading, 65536)
        except BlockingIOError:
            break
        if not part:
            break
        output = (output + part)[-LARGEST_OUTPUT:]
    return output.decode("utf-8", "replace")
