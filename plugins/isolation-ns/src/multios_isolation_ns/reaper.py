"""A first process that forwards signals and reaps orphans, with the command as its child (``--init``)."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_NOT_FORWARDED = (signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU)


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
