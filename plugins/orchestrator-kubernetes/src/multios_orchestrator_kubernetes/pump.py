"""Bytes between descriptors and the channels of a connection into a pod, both ways at once."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping

from multios_orchestrator_kubernetes.websockets import CLOSE, Channels

_CHUNK = 8192
"""Bytes a message: what poll(2) promises to take is a third of a socket's buffer, so that sending does not wait."""
_PIPE = select.PIPE_BUF
"""Bytes that a descriptor takes at once without waiting, where poll(2) says that it is ready (pipe(7))."""


class Pump:
    """``source`` is read for channel 0 (below 0: nothing is). ``targets`` has where channels are written.

    ``other`` gets the messages of other channels. ``idle`` is called at least every ``seconds``.
    """

    def __init__(
        self,
        channels: Channels,
        source: int,
        targets: Mapping[int, int],
        other: Callable[[int, bytes], None],
        idle: Callable[[], None] = lambda: None,
        seconds: float = 1.0,
    ) -> None:
        self._channels, self._source, self._targets = channels, source, targets
        self._other, self._idle, self._seconds = other, idle, seconds
        self._held = b""
        """What was read and is not sent yet."""
        self._pending: list[tuple[int, memoryview]] = []
        """What came and is not written yet."""
        self._silent_since = time.monotonic()

    def run(self, linger: float | None = None) -> None:
        """Until the server ends it; or when nothing came for ``linger`` seconds after the source had ended.

        Raises ``BrokenPipeError`` and its like where a target takes no more.
        """
        is_open = True
        while is_open or self._pending:
            has_more = is_open and not self._pending and self._channels.has_more
            ready = dict(self._poll(is_open).poll(0 if has_more else int(self._seconds * 1000)))
            answered = ready.get(self._channels.fileno(), 0) if is_open else 0
            if self._pending and self._pending[0][0] in ready:
                self._write()
            elif not self._pending and (has_more or answered & ~select.POLLOUT):
                is_open = self._receive()
            if self._held and is_open and answered & (select.POLLOUT | select.POLLERR | select.POLLHUP):
                if not self._channels.send(0, self._held):
                    self._source = -1  # why not may still come
                self._held = b""
            if self._source >= 0 and self._source in ready:
                self._read()
            self._idle()
            if linger is not None and self._source < 0 and time.monotonic() >= self._silent_since + linger:
                return

    def _poll(self, is_open: bool) -> select.poll:
        """Nothing is taken from the server before what it said is written; nothing is read before it took what was."""
        poll = select.poll()
        if self._pending:
            poll.register(self._pending[0][0], select.POLLOUT)
        if is_open and self._source >= 0 and not self._held:
            poll.register(self._source, select.POLLIN)
        events = (0 if self._pending else select.POLLIN) | (select.POLLOUT if self._held else 0)
        if is_open and events:
            poll.register(self._channels.fileno(), events)
        return poll

    def _read(self) -> None:
        try:
            self._held = os.read(self._source, _CHUNK)
        except OSError:  # a terminal's other side, or a peer that broke off
            self._held = b""
        if not self._held:
            self._source = -1
            self._silent_since = time.monotonic()
            self._channels.end(0)

    def _receive(self) -> bool:
        message = self._channels.receive()
        if message is None:
            return False
        channel, data = message
        self._silent_since = time.monotonic()
        if channel in self._targets:
            if data:
                self._pending.append((self._targets[channel], memoryview(data)))
        elif channel >= 0 and channel != CLOSE:
            self._other(channel, data)
        return True

    def _write(self) -> None:
        target, data = self._pending[0]
        rest = data[os.write(target, data[:_PIPE]) :]
        self._pending = [(target, rest)] if rest else []
