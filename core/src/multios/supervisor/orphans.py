"""Children of a dead supervisor, which became the daemon's (PR_SET_CHILD_SUBREAPER, prctl(2)): it waits for them."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from multios.supervisor import exit_status
from multios.supervisor.child import NAME

REAP_SECONDS = 5.0

Report = Callable[[str, int | None, int, float], None]
"""Called with process id, exit code (``None``: the kernel cannot tell), signal and time."""


class Orphans:
    """Processes whose supervisor died, each watched until it ends. Reports come from one thread."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._watched: dict[int, str] = {}
        self._lock = threading.Lock()
        self._epoll = select.epoll()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, process_id: str, pidfd: int) -> None:
        """Watch a process; the descriptor stays the caller's. One that is watched already: nothing."""
        with self._lock:
            if self._closed or process_id in self._watched.values():
                return
            copy = os.dup(pidfd)
            self._watched[copy] = process_id
            self._epoll.register(copy, select.EPOLLIN)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="orphans", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        with self._lock:
            self._closed = True
            for copy in self._watched:
                os.close(copy)
            self._watched.clear()

    def _run(self) -> None:
        while not self._closed:
            for pidfd, _ in self._epoll.poll(1.0):
                with self._lock:
                    process_id = self._watched.get(pidfd)
                    if process_id is None:
                        continue
                    self._epoll.unregister(pidfd)
                known = wait_for_status(pidfd)
                if known is not None:
                    self._report(process_id, *known, time.time())
                with self._lock:
                    if self._watched.pop(pidfd, None) is not None:
                        os.close(pidfd)
        self._epoll.close()


def wait_for_status(pidfd: int) -> tuple[int | None, int] | None:
    """(exit code or ``None`` for unknown, signal) of a process that has ended, as its parent or as anyone may learn it.

    ``None`` when it cannot be known yet: the supervisor of the day asks on, however long the parent may take.
    """
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ChildProcessError:
        return _asked(pidfd)
    if result is not None and result.si_code == os.CLD_EXITED:
        return result.si_status, 0
    return (128 + result.si_status, result.si_status) if result is not None else (None, 0)


def _asked(pidfd: int) -> tuple[int | None, int] | None:
    try:
        status = exit_status.of_ended(pidfd)
    except OSError:
        return None, 0
    return None if status is None else exit_status.split(status)


def end_strays(known: set[int]) -> None:
    """End and reap the children of a dead supervisor that nobody was told of, all but the ``known`` pids.

    Slots, helpers and reservations bear the name that every child of a supervisor has until exec. A process of
    exec that had no answer yet is in a container's PID namespace, whose first process cannot die while a dead
    one in it is not reaped (pid_namespaces(7)).
    """
    end = time.monotonic() + REAP_SECONDS
    # Again until there is none: the child of a helper becomes ours when the helper has died.
    while (strays := set(_children_of_supervisors()) - known) and time.monotonic() < end:
        for pid in strays:
            _end(pid)
        time.sleep(0.001)


def _children_of_supervisors() -> Iterator[int]:
    """Our own children, reaped or not, that only a supervisor can have made."""
    depth = len(_status("self")["NSpid"])
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = _status(entry.name)
        except OSError:
            continue
        ours = int(status["PPid"][0]) == os.getpid()
        if ours and (status["Name"] == [NAME.decode()] or len(status["NSpid"]) > depth):
            yield int(entry.name)


def _status(pid: str) -> dict[str, list[str]]:
    """The fields of proc(5), /proc/pid/status; they can be read until the process is reaped."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, os.WNOHANG)
    except (ProcessLookupError, ChildProcessError):
        pass  # whoever started it was faster
