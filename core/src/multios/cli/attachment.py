"""Being attached: ``run``, ``start --attach``, ``attach`` and a terminal's ``exec``."""

from __future__ import annotations

import os
import sys
import time

from multios.api.protocol import PeerGone, close_all
from multios.cli.streams import STDERR, STDOUT, DetachKeys, Input, Output, copy, finish
from multios.cli.terminal import STDIN, RawTerminal, is_terminal
from multios.errors import MultiosError, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, signal
    from types import FrameType, TracebackType
    from typing import Any

    from multios.api.client import Answers
    from multios.cli.context import Context
else:
    from _signal import (
        SIGHUP,
        SIGINT,
        SIGQUIT,
        SIGTERM,
        SIGUSR1,
        SIGUSR2,
        signal,
    )  # `signal` brings enum, 3 ms

PROXIED: dict[int, str] = {
    SIGINT: "INT",
    SIGTERM: "TERM",
    SIGHUP: "HUP",
    SIGQUIT: "QUIT",
    SIGUSR1: "USR1",
    SIGUSR2: "USR2",
}
IMPATIENT = 3
"""So many interrupts and the client leaves, whatever the container does."""
LINGER = 1.0
EXEC_LINGER = 0.05
NEW_DAEMON_SECONDS = 10.0


def run_attached(context: Context, config: dict[str, Any]) -> int:
    """``containers.run``; the container's exit code."""
    piped = bool(config.get("open_stdin")) and not config.get("terminal")
    params = {"config": config, "attach": True}
    if piped and is_terminal(STDIN):
        source, theirs = _typed()
        answers = context.client.request("containers.run", params, [theirs])
        os.close(theirs)
        return _session(context, answers, True, source)
    answers = context.client.request("containers.run", params, [STDIN] if piped else [])
    return _session(context, answers, interactive=bool(config.get("open_stdin")))


def start_attached(context: Context, ref: str, stdin: bool) -> int:
    """``containers.start`` with its streams; the container's exit code."""
    answers = context.client.request("containers.start", {"ref": ref, "attach": True, "stdin": stdin})
    return _session(context, answers, interactive=stdin)


def attach(context: Context, ref: str, stdin: bool) -> int:
    """``containers.attach``; the container's exit code, 0 when the keys detached."""
    answers = context.client.request("containers.attach", {"ref": ref, "stdin": stdin})
    return _session(context, answers, interactive=stdin)


def exec_in_terminal(context: Context, params: dict[str, Any], interactive: bool) -> int:
    """``containers.exec`` in a terminal of its own; the command's exit code."""
    answers = context.client.request("containers.exec", params)
    _, (master, *others) = _until_attached(context, answers)
    close_all(others)
    outputs = [Output(master, STDOUT)]
    source = Input(os.dup(master), True, DetachKeys()) if interactive else None
    with RawTerminal(master, interactive):
        how = copy(outputs, source, answers, EXEC_LINGER)
    if how == "gone":
        raise Unavailable("the daemon went away: how the command exited is not known", "run it again")
    return 0 if how == "detached" else _exit_code(finish(answers))


def exec_beside_terminal(context: Context, params: dict[str, Any], interactive: bool) -> int:
    """``containers.exec`` without a terminal of its own, for a caller who has one; the command's exit code.

    The caller's terminal itself never goes inside: whoever holds it, for output alone, can read what is typed at
    it, long after the command has ended.
    """
    source, stdin = _typed() if interactive else (None, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    read, stdout = os.pipe()
    outputs, stderr = [Output(read, STDOUT)], stdout
    if not (is_terminal(STDOUT) and is_terminal(STDERR)):  # on one terminal, one pipe keeps the order
        read, stderr = os.pipe()
        outputs.append(Output(read, STDERR))
    answers = context.client.request("containers.exec", params, [stdin, stdout, stderr])
    close_all(list({stdin, stdout, stderr}))
    if copy(outputs, source, answers, EXEC_LINGER) == "gone":
        raise Unavailable("the daemon went away: how the command exited is not known", "run it again")
    return _exit_code(finish(answers))


def _typed() -> tuple[Input, int]:
    """What is typed at our terminal, and the end of the pipe that the container reads it from."""
    theirs, ours = os.pipe()
    return Input(ours, False, None), theirs


def _session(context: Context, answers: Answers, interactive: bool, typed: Input | None = None) -> int:
    facts, fds = _until_attached(context, answers)
    ref = str(facts.get("id", ""))
    if facts.get("terminal"):
        master, output, *others = fds
        close_all(others)
        keys = DetachKeys() if is_terminal(STDIN) else None
        source = Input(master, True, keys) if interactive else None
        try:
            with SignalProxy(context, ref), RawTerminal(master, interactive):
                how = copy([Output(output, STDOUT)], source, answers, LINGER)
        finally:
            if source is None:
                os.close(master)
    else:
        source = Input(fds.pop(0), False, None) if facts.get("stdin") else typed
        with SignalProxy(context, ref):
            how = copy([Output(fds[0], STDOUT), Output(fds[1], STDERR)], source, answers, LINGER)
            if how == "ended":
                how = _await_final(answers)
    if how == "detached":
        context.client.close()
        return 0
    result = answers.result if answers.finished else None
    if how == "ended" and result is None:
        how = _await_final(answers)
        result = answers.result
    if how == "gone" or "exit_code" not in (result or {}):
        return _wait(context, ref)
    return _exit_code(result or {})


def _await_final(answers: Answers) -> str:
    try:
        finish(answers)
    except PeerGone:
        return "gone"
    return "ended"


def _until_attached(context: Context, answers: Answers) -> tuple[dict[str, Any], list[int]]:
    """The ``attached`` frame, with the progress of what comes before it shown."""
    from multios.cli.progress import Progress

    progress = Progress(sys.stderr)
    try:
        for kind, value, fds in answers:
            if kind == "attached":
                return value, fds
            close_all(fds)
            if kind == "progress":
                progress.show(value)
    finally:
        progress.end()
    raise MultiosError(
        "the daemon did not attach to the container", "use a client and a daemon of the same version"
    )


def _wait(context: Context, ref: str) -> int:
    """The exit code by ``containers.wait``, asked of the next daemon where the last one is gone."""
    deadline = time.monotonic() + NEW_DAEMON_SECONDS
    while True:
        try:
            return _exit_code(context.client.call("containers.wait", {"ref": ref, "condition": "exited"}))
        except NotFound:
            raise MultiosError(
                "the daemon was replaced and the container is gone: how it exited is not known",
                "look for it with: multios-container ps --all",
            ) from None
        except Unavailable:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def _exit_code(result: dict[str, Any]) -> int:
    code = result.get("exit_code")
    if code is None:
        raise MultiosError(
            str(result.get("error") or "how it exited is not known"),
            "its output until then is in `multios-container logs`",
        )
    return int(code)


class SignalProxy:
    """While entered, signals that come to us go to the container."""

    def __init__(self, context: Context, ref: str) -> None:
        self._context = context
        self._ref = ref
        self._interrupts = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> None:
        self._handlers = {number: signal(number, self._forward) for number in PROXIED}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal(number, handler)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if number in (SIGINT, SIGTERM):
            self._interrupts += 1
            if self._interrupts >= IMPATIENT:
                raise SystemExit(128 + number)
        try:
            with self._context.another_client(start=False) as client:
                client.call("containers.kill", {"ref": self._ref, "signal": PROXIED[number]})
        except (MultiosError, OSError):  # it has just exited, or the daemon is being replaced
            pass
