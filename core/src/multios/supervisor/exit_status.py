"""How a process ended, for one who is not its parent."""

from __future__ import annotations

import os

from multios.supervisor.syscalls import kernel

_STATE, _EXIT_CODE = 0, 49  # fields 3 and 52 of proc(5), /proc/pid/stat, counted from behind the name


def of_ended(pidfd: int) -> int | None:
    """The wait status of a process that has ended; ``None`` when it cannot be known yet.

    Until its parent reaps it, it can be read in /proc; from then on the kernel tells since Linux 6.15.
    ``OSError`` where nobody can know it any more.
    """
    status = _of_unreaped(pidfd)
    return kernel.pidfd_exit_status(pidfd) if status is None else status


def split(status: int) -> tuple[int, int]:
    """A wait status as (exit code, signal or 0): 128 + signal for a killed process; wait(2)."""
    code = os.waitstatus_to_exitcode(status)
    return (code, 0) if code >= 0 else (128 - code, -code)


def _of_unreaped(pidfd: int) -> int | None:
    pid = pid_of(pidfd)
    if pid <= 0:
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    if fields[_STATE] != b"Z" or pid_of(pidfd) != pid:  # the number may be another's by now
        return None
    return int(fields[_EXIT_CODE])


def pid_of(pidfd: int) -> int:
    """Its number here; -1 once it has been reaped; pidfd_open(2)."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:
        lines = file.read().splitlines()
    return next((int(line[4:]) for line in lines if line.startswith(b"Pid:")), -1)
