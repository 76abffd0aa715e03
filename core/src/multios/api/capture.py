"""Running something to its end and collecting what it writes, for users of the Python interface."""

from __future__ import annotations

import os
import select

from multios.api.protocol import close_all
from multios.errors import MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.api.client import Answers, Client

_CHUNK = 65536


class Finished:
    """``exit_code`` (``None``: unknown) and what was written to stdout and stderr, as bytes."""

    __slots__ = ("exit_code", "stderr", "stdout")

    def __init__(self, exit_code: int | None, stdout: bytes, stderr: bytes) -> None:
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self) -> str:
        return f"Finished(exit_code={self.exit_code}, stdout={self.stdout!r}, stderr={self.stderr!r})"


def run(client: Client, config: dict[str, Any], input: bytes) -> Finished:
    """``containers.run``, attached, without a terminal."""
    config = {**config, "terminal": False, "open_stdin": bool(input)}
    ends: list[int] = list(os.pipe()) if input else []
    try:
        answers = client.request("containers.run", {"config": config, "attach": True}, ends[:1])
        close_all(ends[:1])
        ends = ends[1:]
        streams = _attached(answers)
        output = _collect(streams, (ends.pop(), input) if ends else None)
    finally:
        close_all(ends)
    return Finished(_final(answers).get("exit_code"), *output)


def execute(client: Client, params: dict[str, Any], input: bytes) -> Finished:
    """``containers.exec`` with pipes of our own."""
    stdin, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
    ours, theirs = [stdin[1], stdout[0], stderr[0]], [stdin[0], stdout[1], stderr[1]]
    try:
        try:
            answers = client.request("containers.exec", {**params, "terminal": False, "stdin": True}, theirs)
        finally:
            close_all(theirs)
        feed = (ours.pop(0), input)
        streams, ours = ours, []
        output = _collect(streams, feed)
    finally:
        close_all(ours)
    return Finished(_final(answers).get("exit_code"), *output)


def _attached(answers: Answers) -> list[int]:
    for kind, _, fds in answers:
        if kind == "attached":
            return fds
        close_all(fds)
    raise MultiosError("the daemon did not attach to the container")


def _final(answers: Answers) -> dict[str, Any]:
    for _, _, fds in answers:
        close_all(fds)
    return answers.result or {}


def _collect(streams: list[int], feed: tuple[int, bytes] | None) -> tuple[bytes, bytes]:
    """Read the two ``streams`` to their ends while feeding; closes all of them."""
    parts: dict[int, list[bytes]] = {fd: [] for fd in streams}
    poll = select.poll()
    for fd in streams:
        poll.register(fd, select.POLLIN)
    fed, rest = feed if feed is not None else (-1, b"")
    if fed >= 0:
        os.set_blocking(fed, False)
        poll.register(fed, select.POLLOUT)
    still = set(streams)
    try:
        while still:
            for fd, _ in poll.poll():
                if fd == fed:
                    rest = _feed(fd, rest)
                    if not rest:
                        poll.unregister(fed)
                        os.close(fed)
                        fed = -1
                elif data := os.read(fd, _CHUNK):
                    parts[fd].append(data)
                else:
                    poll.unregister(fd)
                    still.discard(fd)
    finally:
        close_all([*streams, fed])
    first, second = (b"".join(parts[fd]) for fd in streams)
    return first, second


def _feed(fd: int, rest: bytes) -> bytes:
    try:
        return rest[os.write(fd, rest[:_CHUNK]) :] if rest else b""
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return b""
