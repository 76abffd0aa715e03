"""Entering a network namespace for a moment; setns(2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
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


def leave_for_new() -> None:
    """Put the calling thread for good into a network namespace of its own; unshare(2)."""
    _kernel.unshare(CLONE_NEWNET)


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
