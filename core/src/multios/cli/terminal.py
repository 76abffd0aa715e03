"""The caller's terminal: raw while a container has it, restored on every way out."""

from __future__ import annotations

import fcntl
import os
import termios
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGHUP, SIGTERM, SIGWINCH, signal
    from types import FrameType, TracebackType
    from typing import Any
else:
    from _signal import SIGHUP, SIGTERM, SIGWINCH, signal  # the module `signal` brings enum, 3 ms

STDIN, STDOUT = 0, 1


def is_terminal(fd: int) -> bool:
    """Whether ``fd`` is open on a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


class RawTerminal:
    """While entered, stdin is raw and ``master`` has the size of our window (termios(3), ioctl_tty(2)).

    Without a terminal on stdin only the size is kept, if stdout has one. TERM and HUP leave through the restoration.
    """

    def __init__(self, master: int, raw: bool) -> None:
        self._master = master
        self._raw = raw and is_terminal(STDIN)
        self._saved: list[Any] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> None:
        self._handlers[SIGWINCH] = signal(SIGWINCH, self._resized)
        if self._raw:
            for number in (SIGTERM, SIGHUP):
                self._handlers[number] = signal(number, _leave)
            self._saved = termios.tcgetattr(STDIN)
            tty.setraw(STDIN, termios.TCSADRAIN)
        self._resize()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saved:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, self._saved)
        for number, handler in self._handlers.items():
            signal(number, handler)

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        self._resize()

    def _resize(self) -> None:
        for fd in (STDIN, STDOUT):
            try:
                size = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
            except OSError:  # no terminal, or the container's is gone
                continue
            return


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
