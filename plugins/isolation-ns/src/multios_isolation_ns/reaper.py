"""A first process that forwards signals and reaps orphans, with the command as its child (``--init``)."""

from __future__ import annotations

import ctypes
import os
import signal

from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_NAME = ctypes.create_string_buffer(b"multios-init")
_NOT_FORWARDED = (signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU)


def take_name() -> None:
    """Be shown inside as what it is: the words of the supervisor, of which it is a copy, name paths of the host.

    They are written over where the kernel has them from: proc_pid_stat(5), ``arg_start`` and ``arg_end``.
    """
    kernel.prctl(flags.PR_SET_NAME, ctypes.addressof(_NAME))
    try:
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()  # from the third, its state, on
    except FileNotFoundError:
        return  # without /proc nobody can look
    start, end = int(fields[48 - 3]), int(fields[49 - 3])
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, _NAME, min(len(_NAME), end - start))


def run(execute: Callable[[], NoReturn]) -> NoReturn:
    """Fork; the child runs ``execute``, this process serves as init until the child ends, and ends alike.

    An exception of ``execute`` is raised here, in the first process, so that its parent hears of it.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _become_command(execute, reader, writer)
    os.close(writer)
    failed = os.read(reader, 1)
    os.close(reader)
    if failed:  # the child could not exec: do what it did once more, here, for its error
        os.waitpid(child, 0)
        execute()
    os.closerange(3, 1 << 20)
    _serve(child)


def _become_command(execute: Callable[[], NoReturn], reader: int, writer: int) -> NoReturn:
    os.close(reader)
    os.setpgid(0, 0)
    if os.isatty(0):
        os.tcsetpgrp(0, os.getpgrp())  # SIGTTOU, which this would raise, is blocked
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        execute()
    finally:
        os.write(writer, b"x")
        os._exit(1)


def _serve(child: int) -> NoReturn:
    waited = signal.valid_signals()
    while True:
        number = signal.sigwaitinfo(waited).si_signo
        if number not in _NOT_FORWARDED:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(0)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
