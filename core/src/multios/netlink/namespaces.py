"""Entering a network namespace for a moment; setns(2)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from multios.supervisor.flags import CLONE_NEWNET
from multios.supervisor.syscalls import Syscalls

_kernel = Syscalls()
Result = TypeVar("Result")


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


def done_inside(netns: int, action: Callable[[], Result]) -> Result:
    """Do something in the namespace, in a thread that ends there; what ``action`` returns or raises.

    Without root on the host nobody may go back to the host's namespace, so a user's own daemon has no other way.
    """
    results: list[Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            _kernel.setns(netns, CLONE_NEWNET)
            results.append(action())
        except Exception as error:  # raised in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="inside")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


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
