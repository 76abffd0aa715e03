"""Handing a terminal's master to the caller (``--console-socket``): one message with one descriptor, as runc sends it."""

from __future__ import annotations

import os
import signal
import socket
import struct

from multios.errors import InvalidInput


def connect(path: str) -> socket.socket:
    """The caller's socket, connected before anything is made."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # through the directory's descriptor, because a socket's path holds 107 bytes (unix(7))
        channel.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    except OSError as error:
        channel.close()
        raise InvalidInput(f"console socket {path}: {error.strerror}", "listen on it first") from None
    finally:
        os.close(directory)
    return channel


def send(channel: socket.socket, master: int) -> None:
    """Send the master, which stays ours to close; who gets it may read it as any terminal, waiting."""
    os.set_blocking(master, True)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", master))]
    channel.sendmsg([b"/dev/ptmx"], rights)


def check(terminal: bool, path: str, detached: bool = True) -> None:
    """A terminal and a console socket come together."""
    if terminal and not path and detached:
        raise InvalidInput("a terminal was asked for, and nobody to take it", "give --console-socket")
    if path and not terminal:
        raise InvalidInput(
            "--console-socket without a terminal", "set process.terminal, or leave the option out"
        )


def wait(pid: int, pidfd: int) -> int:
    """Pass on every signal that reaches us until our child ends: its exit status, 128 + signal for a killed one."""

    def forward(number: int, frame: object) -> None:
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            pass  # it is ending already

    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):
        signal.signal(number, forward)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code
