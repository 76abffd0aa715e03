"""A subprocess whose messages are followed and that never outlives the work it was started for."""

from __future__ import annotations

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

CONFINED = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Words before a command that mounts: when it is killed its children are too, and its mounts are gone with them."""


class Followed:
    """A running tool: its ``output`` (``None`` if that counts as messages) and the last of its ``messages``."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: threading.Thread, messages: Sequence[str]
    ) -> None:
        self._process = process
        self._reader = reader
        self.messages = messages

    @property
    def output(self) -> IO[bytes]:
        """What it writes to its standard output."""
        assert self._process.stdout is not None
        return self._process.stdout

    def finish(self) -> int:
        """Wait for its end: the exit status."""
        status = self._process.wait()
        self._reader.join()
        return status


@contextmanager
def followed(
    command: Sequence[str],
    environment: Mapping[str, str],
    on_message: Callable[[str], None],
    with_output: bool = True,
) -> Iterator[Followed]:
    """Start ``command`` (no shell); every line of its standard error is a message.

    Without ``with_output`` its standard output is messages too. When the block is left before the tool has ended, or
    this process dies, the tool is killed; its children too, if they are of its session or it is :data:`CONFINED`.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as target:
        process = subprocess.Popen(
            [*_with_parent(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if with_output else target,
            stderr=target,
            env=environment,
            start_new_session=True,
        )
        target.close()
        messages: collections.deque[str] = collections.deque(maxlen=200)
        reader = threading.Thread(
            target=_read, args=(source, messages, on_message), name="tool-messages", daemon=True
        )
        reader.start()
        try:
            yield Followed(process, reader, messages)
        finally:
            if process.stdout is not None:
                process.stdout.close()
            _end(process)
            reader.join()


def _read(source: IO[bytes], messages: collections.deque[str], on_message: Callable[[str], None]) -> None:
    for line in source:
        text = line[:1000].decode(errors="replace").rstrip()
        messages.append(text)
        on_message(text)


def _with_parent() -> list[str]:
    """The words that let a command end with the thread that started it (PR_SET_PDEATHSIG)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
