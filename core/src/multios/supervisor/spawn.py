"""How the daemon starts the supervisor: a new session, a fresh interpreter, nothing inherited but the log."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from multios.errors import Unavailable

READY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Command:
    """What the supervisor is started with; ``log`` takes its complaints (empty: our own standard error)."""

    socket: Path
    exits: Path
    cgroup_parent: str
    launchers: tuple[str, ...]
    slots: int
    import_paths: tuple[Path, ...]
    log: str

    def words(self) -> list[str]:
        """The command line. -I: neither PYTHON* variables nor the working directory choose what root imports."""
        pairs = [
            ("--socket", str(self.socket)),
            ("--exits", str(self.exits)),
            ("--cgroup-parent", self.cgroup_parent),
            ("--slots", str(self.slots)),
            *(("--path", str(path)) for path in self.import_paths),
            *(("--launcher", name) for name in self.launchers),
        ]
        return [
            sys.executable,
            "-I",
            "-m",
            "multios.supervisor.main",
            *(word for pair in pairs for word in pair),
        ]


def start(command: Command) -> int:
    """Start a supervisor and wait until it listens; its pid. ``Unavailable`` if it does not.

    posix_spawn(3) and not fork: the daemon is big and has threads.
    """
    command.socket.parent.mkdir(parents=True, exist_ok=True)
    ready, theirs = os.pipe2(os.O_CLOEXEC)
    log_mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, theirs, 1),
    ]
    if command.log:
        actions.append((os.POSIX_SPAWN_OPEN, 2, command.log, log_mode, 0o640))
    words = command.words()
    try:
        pid = os.posix_spawn(
            words[0],
            words,
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=[signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM],
        )
    except OSError as error:
        os.close(ready)
        raise Unavailable(f"cannot start the supervisor: {error}") from None
    finally:
        os.close(theirs)
    try:
        _wait_until_ready(ready, pid)
    finally:
        os.close(ready)
    return pid


def _wait_until_ready(ready: int, pid: int) -> None:
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    end = time.monotonic() + READY_SECONDS
    while not poll.poll(max(0.0, end - time.monotonic()) * 1000):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise Unavailable(f"the supervisor was not ready after {READY_SECONDS:.0f} s", "see the daemon's log")
