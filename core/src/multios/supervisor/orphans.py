"""Children of a dead supervisor, which became the daemon's (PR_SET_CHILD_SUBREAPER, prctl(2)): it waits for them."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from multios.supervisor.child import NAME
from multios.supervisor.handover import split_status
from multios.supervisor.syscalls import kernel

KERNEL_SECONDS = 5.0

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
                exit_code, number = wait_for_status(pidfd)
                self._report(process_id, exit_code, number, time.time())
                with self._lock:
                    if self._watched.pop(pidfd, None) is not None:
                        os.close(pidfd)
        self._epoll.close()


def wait_for_status(pidfd: int) -> tuple[int | None, int]:
    """(exit code, signal) of a process that has ended: as its parent, else from the kernel, else unknown."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ChildProcessError:
        return _ask_kernel(pidfd)
    if result is not None and result.si_code == os.CLD_EXITED:
        return result.si_status, 0
    return (128 + result.si_status, result.si_status) if result is not None else (None, 0)


def _ask_kernel(pidfd: int) -> tuple[int | None, int]:
    """Somebody else is its parent: since Linux 6.15 the kernel tells anyone, once it is reaped."""
    end = time.monotonic() + KERNEL_SECONDS
    try:
        while time.monotonic() < end:
            status = kernel.pidfd_exit_status(pidfd)
            if status is not None:
                return split_status(status)
            time.sleep(0.01)
    except OSError:
        pass
    return None, 0


def end_strays(known: set[int]) -> None:
    """End and reap the children of a dead supervisor that had no container yet: slots, helpers, reservations.

    They are our own children with the name that every child of a supervisor bears until exec, and are not
    among the ``known`` pids.
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in known:
            continue
        try:
            text = (entry / "stat").read_bytes()
        except OSError:
            continue
        name, _, rest = text.partition(b"(")[2].rpartition(b") ")
        if name == NAME and int(rest.split()[1]) == os.getpid():
            try:
                os.kill(int(entry.name), signal.SIGKILL)
                os.waitpid(int(entry.name), 0)
            except (ChildProcessError, ProcessLookupError):
                continue
