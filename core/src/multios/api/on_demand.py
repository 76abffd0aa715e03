"""Starting the daemon when a client finds none."""

from __future__ import annotations

import _socket
import os
import sys
import time

from multios.api.client import try_connect
from multios.errors import Unavailable

_NAME = "multios-containerd: "
PATIENCE = 60.0
"""Seconds that a new daemon has until it must answer: it may be the first of a slow machine."""

_AFTER_ITS_DEATH = 1.0
"""Seconds more after our daemon has exited: another client may have started one at the same time."""


def start_daemon(path: str) -> _socket.socket:
    """Start a daemon whose socket is ``path`` and return a connection to it.

    Raises ``Unavailable`` with the last line that it said.
    """
    exec_root = os.path.dirname(path)
    log = os.path.join(exec_root, "start.log")
    try:
        _make_exec_root(exec_root)
        offset = os.path.getsize(log) if os.path.exists(log) else 0
        pid = _spawn(exec_root, log)
    except OSError as error:
        raise Unavailable(f"the daemon cannot be started: {error}", "run multios-container doctor") from None
    deadline = time.monotonic() + PATIENCE
    pause, exited = 0.002, False
    while time.monotonic() < deadline:
        try:
            return try_connect(path)
        except OSError:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        if not exited and _has_exited(pid):
            exited, deadline = True, min(deadline, time.monotonic() + _AFTER_ITS_DEATH)
    said, remedy = _last_words(log, offset)
    said = said or f"it did not answer at {path} within {PATIENCE:.0f} seconds"
    raise Unavailable(
        f"the daemon did not start: {said}",
        remedy
        or f"see why with: {'sudo ' if os.geteuid() == 0 else ''}multios-containerd --foreground --log-level debug",
    )


def _make_exec_root(path: str) -> None:
    uid = os.geteuid()
    if uid == 0:
        os.makedirs(path, mode=0o755, exist_ok=True)
        return
    from multios.rootless.roots import make_private  # deferred: root needs it not

    make_private(path, uid)


def _spawn(exec_root: str, log: str) -> int:
    environment = {**os.environ, "MULTIOS_EXEC_ROOT": exec_root}
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    inherited = (int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2)
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in inherited if _is_inheritable(fd)]
    command = [sys.executable, "-m", "multios.daemon", "--on-demand"]
    if os.geteuid():
        from multios.rootless.delegation import delegated  # deferred: root needs it not

        command = delegated(command)
    return os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True, setsigmask=[])


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # the listing's own descriptor
        return False


def _has_exited(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _last_words(path: str, offset: int) -> tuple[str, str]:
    """The last cause that the daemon wrote, and the remedy, which stands indented below it, if there is one."""
    with open(path, "rb") as file:
        file.seek(offset)
        lines = file.read()[-65536:].decode(errors="replace").rstrip().splitlines()
    if len(lines) > 1 and lines[-1].startswith("  ") and lines[-2].startswith(_NAME):
        return lines[-2].removeprefix(_NAME), lines[-1].strip()
    return (lines[-1].strip().removeprefix(_NAME) if lines else ""), ""
