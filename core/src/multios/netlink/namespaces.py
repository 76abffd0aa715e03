"""Entering a network namespace for a moment; setns(2)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from multios.supervisor.flags import CLONE_NEWNET
from multios.supervisor.syscalls import Syscalls

_kernel = Syscalls()


@contextmanager
def inside(netns: int) -> Iterator[None]:
    """The calling thread is in the namespace behind descriptor ``netns``; sockets made there stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _kernel.setns(netns, CLONE_NEWNET)
        try:
            yield
        finally:
            _kernel.setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def in_new_namespace(action: Callable[[], None]) -> OSError | None:
    """Do something in a network namespace of its own, which vanishes with it; the error that it ended with."""
    outcome: list[OSError] = []

    def attempt() -> None:
        try:
            _kernel.unshare(CLONE_NEWNET)
            action()
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return outcome[0] if outcome else None


def write_setting(path: str, value: str) -> None:
    """Write ``net.*`` of sysctl(8) in the calling thread's namespace; one that the kernel lacks is left out."""
    setting = Path("/proc/sys/net", path)
    try:
        if setting.read_text().strip() != value:
            setting.write_text(value)
    except FileNotFoundError:
        pass


def read_setting(path: str) -> str:
    """A ``net.*`` setting, or an empty text where the kernel lacks it."""
    try:
        return Path("/proc/sys/net", path).read_text().strip()
    except OSError:
        return ""
