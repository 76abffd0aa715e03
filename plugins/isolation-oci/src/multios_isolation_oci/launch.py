"""The launcher: what runs between the supervisor and the OCI runtime, one small process a container.

It runs ``RUNTIME create`` with the container's streams as its own, adopts the process that the runtime leaves
(PR_SET_CHILD_SUBREAPER, prctl(2)), runs ``RUNTIME start``, waits for the end, and ends alike: so the supervisor sees
one child that lives as long as the container. The root filesystem is attached in a mount namespace of this process's
own; nothing is in the host's mount table, and nothing is left when it ends.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import struct

from multios.supervisor import flags
from multios.supervisor.launcher import LaunchError
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PLACE = "/mnt"
"""A directory that every host has, and that no runtime needs: in our mount namespace a tmpfs is there for the bundle."""
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_RLIMIT_CORE = 4
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class _Adopted:
    """What ``create`` and ``enter`` leave for ``execute``: the process, and its terminal's master."""

    pid = 0
    master = -1


def create(plan: dict[str, Any], descriptors: list[int]) -> None:
    """Attach the bundle, and have the runtime make the container."""
    kernel.prctl(flags.PR_SET_CHILD_SUBREAPER, 1)
    _attach_bundle(plan, descriptors)
    for stream in range(3):
        _give(stream, plan["owner"])
    _adopt(plan, ["create", "--bundle", PLACE], f"{PLACE}/console")


def enter(plan: dict[str, Any], descriptors: list[int]) -> None:
    """A process of exec: made here, because its terminal is the runtime's to make."""
    kernel.prctl(flags.PR_SET_CHILD_SUBREAPER, 1)
    _adopt(plan, ["exec", "--detach", "--process", plan["process_file"]], plan["console"])


def take_terminal(spare: list[int]) -> list[int]:
    """The terminal's master, which the runtime has sent; the supervisor's own pair is not needed."""
    for descriptor in spare:
        os.close(descriptor)
    return [_Adopted.master] if _Adopted.master >= 0 else []


def execute(plan: dict[str, Any]) -> NoReturn:
    """Start the container, let go of everything, and live as long as its first process."""
    if "process_file" not in plan:
        _run(plan, ["start", plan["id"]], "start")
    null = os.open("/dev/null", os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the supervisor's socket too: a start without an error
    _end_like(_wait(_Adopted.pid))


def _attach_bundle(plan: dict[str, Any], descriptors: list[int]) -> None:
    kernel.unshare(flags.CLONE_NEWNS)
    kernel.mount("", "/", "", flags.MS_REC | flags.MS_SLAVE)
    kernel.mount("tmpfs", PLACE, "tmpfs", flags.MS_NOSUID | flags.MS_NODEV, "mode=755")
    kernel.mount("", PLACE, "", flags.MS_PRIVATE)
    with open(f"{PLACE}/config.json", "w", encoding="utf-8") as file:
        json.dump(plan["config"], file)
    for descriptor, name in zip(descriptors, plan["places"], strict=True):
        place = f"{PLACE}/{name}"
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        kernel.move_mount(descriptor, "", flags.AT_FDCWD, place, flags.MOVE_MOUNT_F_EMPTY_PATH)
        os.close(descriptor)


def _give(stream: int, owner: int) -> None:
    if owner:
        try:
            os.fchown(stream, owner, owner)
        except OSError:
            pass  # somebody else's file: only opening /dev/stdout by name is lost


def _adopt(plan: dict[str, Any], words: list[str], console: str) -> None:
    """Run the runtime's ``words``; its process is our child afterwards."""
    listener = None
    if plan["terminal"]:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(console)
        listener.listen(1)
        words = [*words, "--console-socket", console]
    try:
        _run(plan, [*words, "--pid-file", plan["pid_file"], plan["id"]], words[0], streams=True)
        if listener is not None:
            _Adopted.master = _received(listener)
    finally:
        if listener is not None:
            listener.close()
            os.unlink(console)
    with open(plan["pid_file"], encoding="ascii") as file:
        _Adopted.pid = int(file.read())


def _received(listener: socket.socket) -> int:
    """The terminal's master: one message with one descriptor; the runtime has sent it before it ended."""
    listener.settimeout(5)
    connection, _ = listener.accept()
    with connection:
        _, rights, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    if not rights:
        raise LaunchError("console", errno.EPROTO, "the runtime sent no terminal")
    master: int = struct.unpack("i", rights[0][2][:4])[0]
    os.set_blocking(master, False)
    return master


def _run(plan: dict[str, Any], words: list[str], step: str, streams: bool = False) -> None:
    """Run the runtime to its end; what it logged is the error."""
    command = [*plan["runtime"], *words]
    actions: list[tuple[int, int, str, int, int]] = []
    if not streams:
        actions = [(os.POSIX_SPAWN_OPEN, stream, "/dev/null", os.O_RDWR, 0) for stream in range(3)]
    pid = os.posix_spawn(command[0], command, _ENVIRONMENT, file_actions=actions)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 0:
        return
    told = last_error(plan["log"]) or f"{os.path.basename(command[0])} ended with status {status}"
    low = told.lower()
    if "executable file not found" in low or ("exec" in low and "no such file or directory" in low):
        raise LaunchError("exec", errno.ENOENT, plan["command"], 127)
    if '": permission denied' in low or "exec format error" in low or '": is a directory' in low:
        raise LaunchError("exec", errno.EACCES, plan["command"], 126)
    raise LaunchError(step, 0, told)


def last_error(path: str) -> str:
    """The message of the last error in a runtime's JSON log; empty if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg", ""))
    return ""


def _wait(pid: int) -> int:
    """The wait status of the adopted process; others that the runtime left are buried on the way."""

    def forward(number: int, frame: object) -> None:
        os.kill(pid, number)  # not reaped before we return, so the number is still its own

    for number in _FORWARDED:
        signal.signal(number, forward)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            for number in _FORWARDED:
                signal.signal(number, signal.SIG_DFL)
            return status


def _end_like(status: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        kernel.prlimit(0, _RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)
