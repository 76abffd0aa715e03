"""How a filter's listener gets from the child that installs the filter to the supervisor.

From the moment it is installed the filter may hold up any call of the child, even that which would hand the listener
over: a call that nobody can answer yet. So the child says beforehand which descriptor it will be. If its own packet
does not come, the supervisor takes the descriptor out of the child, and answers the call that is held up.
"""

from __future__ import annotations

import os

from multios.supervisor import flags, wire
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from multios.supervisor.birth import Child
    from multios.supervisor.loop import Loop

    Taker = Callable[[int], None]

FETCH_SECONDS, FETCH_ATTEMPTS = 0.01, 200
_EINVAL = 22
_OURS = "anon_inode:seccomp notify"

_control: list[socket.socket] = []


def speak_over(control: socket.socket) -> None:
    """The child's socket to the supervisor; called once in every child."""
    _control[:] = [control]


def install(program: bytes, options: int) -> None:
    """Install a filter that asks, and give its listener away. Runs in the child, which has one thread."""
    control = _control[0]
    number = os.dup(0)  # the lowest that is free, which the listener will be
    os.close(number)
    wire.send(control, {"listener": number})
    options = options & ~flags.SECCOMP_FILTER_FLAG_TSYNC | flags.SECCOMP_FILTER_FLAG_NEW_LISTENER
    try:  # only a fatal signal interrupts a call that is being answered; since Linux 5.19
        listener = kernel.seccomp_filter(program, options | flags.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        listener = kernel.seccomp_filter(program, options)
    try:
        wire.send(control, {"listener": number}, [listener])
        os.close(listener)
    except OSError:
        # The filter refuses it. Then somebody answered, which only the supervisor can; exec closes what is ours.
        return


class Handover:
    """The supervisor's side, for one child: ``take`` is called once with the listener."""

    def __init__(self, loop: Loop, child: Child, take: Taker) -> None:
        self._loop, self._child, self._take = loop, child, take
        self._done = False

    def hear(self, number: int, descriptors: list[int]) -> None:
        """The child announces its listener, or sends it."""
        if not descriptors:
            self._loop.later(FETCH_SECONDS, lambda: self._fetch(number, FETCH_ATTEMPTS))
            return
        wire.close_all(descriptors[1:])
        self._finish(descriptors[0])

    def _fetch(self, number: int, attempts: int) -> None:
        if self._done or attempts == 0 or self._child.control.fileno() < 0:
            return
        if self._child.pidfd >= 0:
            try:
                self._finish(kernel.pidfd_getfd(self._child.pidfd, number))
            except OSError:
                pass  # not there yet
        self._loop.later(FETCH_SECONDS, lambda: self._fetch(number, attempts - 1))

    def _finish(self, listener: int) -> None:
        if self._done or os.readlink(f"/proc/self/fd/{listener}") != _OURS:
            os.close(listener)
            return
        self._done = True
        self._take(listener)
