"""Where the supervisor says what went wrong: standard error, which is the daemon's log file."""

from __future__ import annotations

import os
import time


def complain(what: str, error: object) -> None:
    """Write one line, with the place for an exception; a full disk is no reason to die."""
    trace = error.__traceback__ if isinstance(error, BaseException) else None
    where = ""
    while trace is not None:
        where = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kind = f"{type(error).__name__}: " if isinstance(error, BaseException) else ""
    try:
        os.write(
            2, f"{stamp} supervisor[{os.getpid()}] {what}: {kind}{error}{where}\n".encode(errors="replace")
        )
    except OSError:
        pass
