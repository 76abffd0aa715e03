"""The standard streams of a process about to be made: what it gets, and what the supervisor keeps."""

from __future__ import annotations

import os

from multios.supervisor import wire
from multios.supervisor.logs import Log
from multios.supervisor.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from multios.supervisor.loop import Loop
    from multios.supervisor.transit import Transit


class Wiring:
    """``child`` are the descriptors for the child (three, and a pair for a terminal), ours to close.

    ``keeps`` says whether a terminal's master stays with the supervisor, or goes to whoever asked.
    """

    __slots__ = ("_attach", "attached", "child", "keeps", "streams")

    def __init__(self, streams: Streams, keeps: bool, attach: bool) -> None:
        self._attach = attach
        self.child: list[int] = []
        self.attached: list[int] = []
        self.streams = streams
        self.keeps = keeps

    def take_master(self, loop: Loop, master: int) -> None:
        """The child has made its terminal: keep the master and read it, or hand it on."""
        if not self.keeps:
            self.attached = [master, -1, -1]
            return
        self.streams.add(loop, "stdout", master)
        if self._attach:
            self.attached = self.streams.attach(True)

    def abandon(self) -> None:
        """Close everything: the process is not made after all."""
        wire.close_all([*self.child, *self.attached])
        self.streams.close()


def make(
    loop: Loop, transit: Transit, asked: Mapping[str, Any], given: list[int], owner: int, container: bool
) -> Wiring:
    """Pipes or a pair for a terminal as ``asked`` (the fields of ``Stdio``); ``given`` stay the caller's.

    ``owner`` is the host's id of the container's root: pipes become its own, or /dev/stderr could not be
    opened inside. What nobody logs, gives or attaches is /dev/null, except for a container, whose streams
    may be attached to later.
    """
    path = str(asked.get("log_path") or "")
    terminal = bool(asked.get("terminal"))
    log = None
    if path:
        log = Log(path, int(asked.get("log_max_size", 10_000_000)), int(asked.get("log_max_files", 3)))
    made = Wiring(Streams(transit, log, terminal), container or bool(path), bool(asked.get("attach")))
    try:
        if terminal:
            made.child = [_null() for _ in range(3)]
            made.child += os.openpty()
            _give(made.child[4], owner)
        elif len(given) == 3:
            made.child = [os.dup(descriptor) for descriptor in given]
        else:
            _pipes(loop, made, asked, given, owner)
    except BaseException:
        made.abandon()
        raise
    return made


def _pipes(loop: Loop, made: Wiring, asked: Mapping[str, Any], given: list[int], owner: int) -> None:
    kind = asked.get("stdin", "null")
    if kind == "pipe":
        theirs, made.streams.stdin = os.pipe2(os.O_CLOEXEC)
        _give(theirs, owner)
        made.child.append(theirs)
    elif kind == "fd" and given:
        made.child.append(os.dup(given[0]))
    else:
        made.child.append(_null())
    if not (made.keeps or asked.get("attach")):
        made.child += [_null(), _null()]
        return
    for name in ("stdout", "stderr"):
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        made.child.append(theirs)
        _give(theirs, owner)
        made.streams.add(loop, name, ours)
    if asked.get("attach"):
        made.attached = made.streams.attach(kind == "pipe")


def _null() -> int:
    return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)


def _give(descriptor: int, owner: int) -> None:
    if owner:
        try:
            os.fchown(descriptor, owner, owner)
        except PermissionError:
            pass  # a supervisor without the right to: only opening /dev/stdout by name is lost
