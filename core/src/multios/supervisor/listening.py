"""How a filter's listener gets from the child that installs the filter to the supervisor.

From the moment it is installed the filter may hold up any call of the child, even that which would hand the listener
over: a call that nobody can answer yet. So the child says beforehand which descriptor it will be. If its own packet
does not come, the supervisor takes the descriptor out of the child (``fetching``), and answers the call that is held up.
"""

from __future__ import annotations

import os

from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Sender = Callable[[dict[str, Any], list[int]], None]

_EINVAL = 22

_sender: list[Sender] = []


def speak_over(send: Sender) -> None:
    """How the child sends a message and descriptors to the supervisor; called once in every child."""
    _sender[:] = [send]


def install(program: bytes, options: int) -> None:
    """Install a filter that asks, and give its listener away. Runs in the child, which has one thread."""
    send = _sender[0]
    number = os.dup(0)  # the lowest that is free, which the listener will be
    os.close(number)
    send({"listener": number}, [])
    options = options & ~flags.SECCOMP_FILTER_FLAG_TSYNC | flags.SECCOMP_FILTER_FLAG_NEW_LISTENER
    try:  # only a fatal signal interrupts a call that is being answered; since Linux 5.19
        listener = kernel.seccomp_filter(program, options | flags.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        listener = kernel.seccomp_filter(program, options)
    try:
        send({"listener": number}, [listener])
        os.close(listener)
    except OSError:
        # The filter refuses it. Then somebody answered, which only the supervisor can; exec closes what is ours.
        return
