"""Hooks of the runtime spec (config.md, "POSIX-platform Hooks"): programs that hear of a container's life on stdin."""

from __future__ import annotations

import json
import os
import select
import signal
import time

from multios.errors import InvalidInput, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_SHOWN = 400


def checked(section: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The hooks by kind, each with an absolute path and a sensible timeout."""
    for kind in section:
        if kind not in KINDS:
            raise InvalidInput(
                f"hooks.{kind} of the runtime spec is unknown", f"known are {', '.join(KINDS)}"
            )
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        for hook in section.get(kind) or ():
            path, timeout = hook.get("path"), hook.get("timeout")
            if not isinstance(path, str) or not path.startswith("/"):
                raise InvalidInput(f"hooks.{kind}: path {path!r} is not absolute")
            if timeout is not None and (not isinstance(timeout, int) or timeout <= 0):
                raise InvalidInput(f"hooks.{kind}: timeout {timeout!r} is not a number of seconds above 0")
            found.setdefault(kind, []).append(hook)
    return found


def run(kind: str, hooks: Iterable[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
    """Run them in order with ``state`` on standard input; the first that fails raises ``StepFailed``."""
    text = json.dumps(state).encode()
    for hook in hooks:
        _run_one(kind, hook, text)


def _run_one(kind: str, hook: Mapping[str, Any], text: bytes) -> None:
    path = hook["path"]
    given = os.memfd_create("state", os.MFD_CLOEXEC)
    said = os.memfd_create("said", os.MFD_CLOEXEC)
    try:
        os.write(given, text)
        os.lseek(given, 0, os.SEEK_SET)
        environment = dict(word.split("=", 1) for word in hook.get("env") or () if "=" in word)
        actions = [
            (os.POSIX_SPAWN_DUP2, given, 0),
            (os.POSIX_SPAWN_DUP2, said, 1),
            (os.POSIX_SPAWN_DUP2, said, 2),
        ]
        words = [str(word) for word in hook.get("args") or ()] or [path]
        try:
            pid = os.posix_spawn(path, words, environment, file_actions=actions, setsigmask=())
        except OSError as error:
            raise StepFailed(f"{kind} hook {path}", error.strerror or "cannot be run") from None
        status = _wait(pid, hook.get("timeout"))
        if status != 0:
            told = os.pread(said, _SHOWN, 0).decode(errors="replace").strip()
            how = "ran into its timeout" if status is None else f"exit status {status}"
            raise StepFailed(f"{kind} hook {path}", how + (f": {told}" if told else ""))
    finally:
        os.close(given)
        os.close(said)


def _wait(pid: int, timeout: int | None) -> int | None:
    """The exit status; ``None`` for a hook that was killed because it took too long."""
    process = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        end = None if timeout is None else time.monotonic() + timeout
        if not poll.poll(None if end is None else max(0.0, end - time.monotonic()) * 1000):
            signal.pidfd_send_signal(process, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
    finally:
        os.close(process)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
