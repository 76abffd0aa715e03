"""Commands in a pod, and copies, which are commands too: ``tar``, as ``kubectl cp`` does it."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence

from multios.drivers.orchestrator import Place
from multios.errors import (
    CommandNotExecutable,
    CommandNotFound,
    InvalidInput,
    MultiosError,
    NotFound,
    Unavailable,
    Unsupported,
)
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.faults import one_line
from multios_orchestrator_kubernetes.pump import Pump
from multios_orchestrator_kubernetes.websockets import V4, V5, Channels

_STDOUT, _STDERR, _STATUS, _SIZE = 1, 2, 3, 4
_MOST_KEPT = 1 << 16
_NOT_FOUND = ("executable file not found", "no such file or directory")


class Inside:
    """The container of a pod that belongs to ``service``, whose name it has.

    ``check`` is called all the time while something is copied, and at least every second: what it raises ends the copy.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        pod: str,
        place: Place,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster, self._namespace, self._pod, self._place = cluster, namespace, pod, place
        self._check_bounds = check

    def execute(self, command: Sequence[str], streams: tuple[int, int, int], terminal: bool = False) -> int:
        """Run it with these descriptors; its exit status."""
        stdin, stdout, stderr = streams
        targets = {_STDOUT: stdout} if terminal else {_STDOUT: stdout, _STDERR: stderr}
        said = self._run(command, stdin, targets, terminal)
        return _exit_status(said[_STATUS], command[0])

    def copy_in(self, path: str, archive: int) -> None:
        """Unpack a tar into a directory."""
        _check(path)
        self._tar(["tar", "-xf", "-", "-C", path], path, stdin=archive)

    def copy_out(self, path: str, archive: int) -> None:
        """What is at ``path`` as a tar of one tree."""
        _check(path)
        directory, name = posixpath.split(path.rstrip("/"))
        if not name:
            raise InvalidInput("path: / is a whole system", "name a directory in it")
        self._tar(["tar", "-cf", "-", "-C", directory or "/", f"./{name}"], path, stdout=archive)

    def _tar(self, command: list[str], path: str, stdin: int = -1, stdout: int = -1) -> None:
        targets = {_STDOUT: stdout} if stdout >= 0 else {}
        said = self._run(command, stdin, targets, needs_end=stdin >= 0)
        try:
            status = _exit_status(said[_STATUS], command[0])
        except CommandNotFound:
            raise Unsupported(
                f"service {self._place.service!r}: its image has no tar, by which files are copied",
                "use an image that has one, or a volume",
            ) from None
        told = said[_STDERR].decode("utf-8", "replace").strip()
        if status == 1 and stdout >= 0 and _has_only_changed(told):
            return
        if status:
            reason = one_line(told) or f"tar ended with {status}"
            is_absent = "No such file or directory" in reason and (stdin < 0 or path in reason)
            kind = NotFound if is_absent else MultiosError
            raise kind(f"{self._place.service}:{path}: {reason}", "look at the path inside")

    def _run(
        self,
        command: Sequence[str],
        source: int,
        targets: Mapping[int, int],
        terminal: bool = False,
        needs_end: bool = False,
    ) -> Mapping[int, bytearray]:
        """Run it until it ends; the beginning of what came on channels that have no target.

        Where it ``needs_end`` of its source, a cluster that cannot tell it is refused.
        """
        said = {channel: bytearray() for channel in (_STDOUT, _STDERR, _STATUS)}

        def keep(channel: int, data: bytes) -> None:
            if channel in said:
                said[channel] += data[: _MOST_KEPT - len(said[channel])]

        wants = {"stdin": source >= 0, "stdout": True, "stderr": not terminal, "tty": terminal}
        query = [("container", self._place.service), *(("command", word) for word in command)]
        query += [(name, str(is_wanted).lower()) for name, is_wanted in wants.items()]
        channels = self._cluster.channels(self._namespace, self._pod, "exec", query, (V5, V4))
        try:
            if needs_end and not channels.can_close:
                raise Unsupported(
                    "this cluster cannot be told that a file has ended", "it needs Kubernetes 1.30 or later"
                )
            if terminal:
                Pump(channels, source, targets, keep, _sizes(channels, targets[_STDOUT]), 0.2).run()
            else:
                Pump(channels, source, targets, keep, self._check_bounds).run()
        finally:
            channels.close()
        return said


def _has_only_changed(told: str) -> bool:
    """Whether GNU tar says no more than that files changed while it read them: what it wrote is whole (tar(1), status 1)."""
    changed = ("file changed as we read it", "File removed before we read it")
    return bool(told) and all(line.endswith(changed) for line in told.splitlines())


def _check(path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput(f"path: {path!r} is no path in a container", "begin it with /")


def _sizes(channels: Channels, terminal: int) -> Callable[[], None]:
    """Tells the size of our window, and its changes."""
    told: list[os.terminal_size] = []

    def tell() -> None:
        try:
            size = os.get_terminal_size(terminal)
        except OSError:
            return
        if told[-1:] != [size]:
            told[:] = [size]
            channels.send(_SIZE, json.dumps({"Width": size.columns, "Height": size.lines}).encode())

    tell()
    return tell


def _exit_status(status: bytes | bytearray, program: str) -> int:
    """What the channel of errors says: a ``Status`` of the API."""
    try:
        said = json.loads(status)
        if said["status"] == "Success":
            return 0
        causes = (said.get("details") or {}).get("causes") or ()
        codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
        message = one_line(str(said.get("message") or said.get("reason") or "it failed"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unavailable(
            "the connection to the pod ended before the command did", "see whether the pod still runs"
        ) from None
    if codes and codes[0].isascii() and codes[0].isdecimal():
        return int(codes[0])
    raise _not_begun(program, message)


def _not_begun(program: str, reason: str) -> MultiosError:
    """Why it could not be run, as shells number it."""
    if any(words in reason.lower() for words in _NOT_FOUND):
        return CommandNotFound(f"{program!r}: there is no such command in the container", "correct its name")
    if "permission denied" in reason.lower():
        return CommandNotExecutable(f"{program!r}: it may not be run", "name a program")
    return MultiosError(f"{program!r} cannot be run: {reason}", "see whether the pod still runs")
