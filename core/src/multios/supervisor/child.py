"""What runs in a cloned child: it obeys the supervisor until exec(2) replaces it, and never returns.

By now it is in its namespaces and its cgroup. It hears, over one socket, ``create`` (or ``enter``), then
``start``; it answers ``created`` or ``error``. The socket is close-on-exec: that it closed without an error
is how the supervisor learns that exec worked. Its end before that, from the supervisor's death, ends the child.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import struct
import termios

from multios.supervisor import flags, listening, wire
from multios.supervisor.launcher import LaunchError
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from multios.supervisor.launcher import Launcher

FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
NAME = b"multios-slot"
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441  # ioctl_tty(2); Python has neither
_RLIMIT_NOFILE = 7
_STATUS_OF = {
    errno.ENOENT: NOT_FOUND,
    errno.ENOTDIR: NOT_FOUND,
    errno.EACCES: NOT_EXECUTABLE,
    errno.EISDIR: NOT_EXECUTABLE,
    errno.ELOOP: NOT_EXECUTABLE,
    errno.ENOEXEC: NOT_EXECUTABLE,
    errno.ETXTBSY: NOT_EXECUTABLE,
}


def live(
    control: socket.socket,
    launchers: Mapping[str, Launcher],
    take_cgroup: Callable[[], None],
    open_files: tuple[int, int] | None,
) -> NoReturn:
    """The child's whole life.

    ``take_cgroup`` makes or enters its cgroup namespace; ``open_files`` is the limit that the supervisor started with
    (``None``: has still).
    """
    status = FAILED
    try:
        listening.speak_over(lambda message, descriptors: wire.send(control, message, descriptors))
        _settle(take_cgroup, open_files)
        _obey(control, launchers)
    except LaunchError as error:
        status = error.status
        _report(control, error.step, error.errno, error.detail, error.status)
    except OSError as error:
        step = (error.strerror or "system call").partition(":")[0]
        _report(control, step, error.errno or 0, str(error.filename or error.strerror or ""), FAILED)
    except BaseException as error:  # a launcher's mistake must not unwind into the supervisor's own code
        _report(control, "launcher", 0, f"{type(error).__name__}: {error}", FAILED)
    finally:
        os._exit(status)
    raise AssertionError  # unreachable; tells the type checker so


def keep_cgroup_namespace() -> None:
    """The one that the child has is the right one."""


def new_cgroup_namespace() -> None:
    """One of its own, rooted where it stands: so made only when it stands in its cgroup; cgroup_namespaces(7)."""
    kernel.unshare(flags.CLONE_NEWCGROUP)


def _settle(take_cgroup: Callable[[], None], open_files: tuple[int, int] | None) -> None:
    """Shed what the supervisor leaves in its children."""
    os.umask(0o022)
    os.setsid()
    # exec(2) resets handlers but keeps "ignore", and Python ignores SIGPIPE and SIGXFSZ.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if open_files is not None:
        kernel.prlimit(0, _RLIMIT_NOFILE, open_files)
    take_cgroup()


def _obey(control: socket.socket, launchers: Mapping[str, Launcher]) -> NoReturn:
    order, descriptors = _next_order(control)
    plan = _read_plan(descriptors.pop(0))
    launcher = launchers[order["launcher"]]
    for target in range(3):
        os.dup2(descriptors[target], target)
    wire.close_all(descriptors[:3])
    pseudo_terminal = descriptors[3:5] if order["terminal"] else []
    own = descriptors[3 + len(pseudo_terminal) :]
    if order["do"] == "enter":
        launcher.enter(plan, own)
    else:
        launcher.create(plan, own)
    take_terminal = getattr(launcher, "take_terminal", _take_terminal)
    wire.send(control, {"created": True}, take_terminal(pseudo_terminal))
    if order["do"] == "create":
        _next_order(control)
    try:
        launcher.execute(plan)
    except OSError as error:
        raise _as_launch_error(error) from None


def _as_launch_error(error: OSError) -> LaunchError:
    """What went wrong in ``execute``, as the statuses of a shell where it was exec itself."""
    number = error.errno or 0
    step = (error.strerror or "").partition(":")
    if step[1]:  # our own calls name themselves; exec's error is plain
        return LaunchError(step[0], number, str(error.filename or ""))
    return LaunchError("exec", number, str(error.filename or ""), _STATUS_OF.get(number, FAILED))


def _next_order(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    order, descriptors = wire.receive(control)
    if order is None:
        os._exit(FAILED)  # the supervisor died, or has no use for this child any more
    return order, descriptors


def _read_plan(descriptor: int) -> dict[str, Any]:
    """Parse the driver's plan: here, so that the supervisor never spends time or memory on it."""
    parts: list[bytes] = []
    offset = 0
    while part := os.pread(descriptor, 1 << 20, offset):
        parts.append(part)
        offset += len(part)
    os.close(descriptor)
    plan: dict[str, Any] = json.loads(b"".join(parts))
    return plan


def _take_terminal(spare: list[int]) -> list[int]:
    """Make a terminal the controlling one and the standard streams; its master goes to the supervisor.

    Best is one of the container's own devpts, which ttyname(3) finds inside. A container without gets
    ``spare``, a (master, slave) pair of the host's.
    """
    if not spare:
        return []
    try:
        master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
            slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            os.close(master)
            raise
        wire.close_all(spare)
    except OSError:
        master, slave = spare
    for target in range(3):
        os.dup2(slave, target)
    os.close(slave)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    return [master]


def _report(control: socket.socket, step: str, number: int, detail: str, status: int) -> None:
    error = {"step": step, "errno": number, "detail": detail[:1000], "status": status}
    try:
        wire.send(control, {"error": error})
    except OSError:
        pass  # nobody is left to hear it
