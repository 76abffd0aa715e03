"""The interpreter that we are must not become a container's command.

``/proc/self/exe`` names the program that runs; until exec(2) that is the host's Python. An image whose command, or
whose script's interpreter, is that link would run it inside, and a root that is the host's root too could then write
to it by the same link (as CVE-2019-5736 did with runc). A process that is in the container already may still change
the file between this look and exec(2): a user namespace, where root inside may not write to it, is the real wall.
"""

from __future__ import annotations

import errno
import os

from multios.supervisor.launcher import LaunchError
from multios.supervisor.syscalls import kernel

_DEPTH = 5  # the kernel follows no more interpreters than that (execve(2))
_LINE = 256


def _identity(path: str) -> tuple[int, int, int]:
    """The file and the mount by which it was reached: a copy that is mounted into a container is another one."""
    found = os.stat(path)
    try:
        mount = kernel.mount_id(path, follow=True)
    except OSError:  # before Linux 5.8
        mount = 0
    return found.st_dev, found.st_ino, mount


_OWN = _identity("/proc/self/exe")


def refuse(command: str) -> None:
    """Raise ``LaunchError`` (status 126) if executing ``command`` would execute us."""
    path = command
    for _ in range(_DEPTH):
        try:
            if _identity(path) == _OWN:
                raise LaunchError("exec", errno.EACCES, command, 126)
            with open(path, "rb", buffering=0) as file:
                line = file.read(_LINE)
        except OSError:
            return  # not ours to read, so not us; exec(2) will say what is wrong
        if not line.startswith(b"#!"):
            return
        words = line[2:].split(b"\n")[0].split()
        if not words:
            return
        path = os.fsdecode(words[0])
