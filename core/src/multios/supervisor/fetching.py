"""The supervisor's end of :mod:`multios.supervisor.listening`: a child's listener comes by packet, or is fetched."""

from __future__ import annotations

import os

from multios.supervisor import wire
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from multios.supervisor.birth import Child
    from multios.supervisor.loop import Loop

    Taker = Callable[[int], None]

FETCH_SECONDS, FETCH_ATTEMPTS = 0.01, 200
_OURS = "anon_inode:seccomp notify"


class Handover:
    """For one child: ``take`` is called once with the listener."""

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
