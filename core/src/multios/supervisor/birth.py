"""How a child comes into the world: in its cgroup, in its namespaces, and as the supervisor's own child.

The supervisor forks a helper. The helper joins the cgroup, which may wait 10 to 24 ms for the kernel and so
must not happen in the supervisor itself; then it clones the child into new namespaces, or enters those of a
container and clones there. CLONE_PARENT makes the supervisor, not the helper, the child's parent.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal

from multios.supervisor import child, exit_status, flags, wire
from multios.supervisor.loop import READ, guard
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from multios.cgroups.hierarchy import Hierarchy
    from multios.supervisor.launcher import Launcher
    from multios.supervisor.loop import Loop

    Hearer = Callable[[dict[str, Any] | None, list[int]], None]
    ListenerHearer = Callable[[int, list[int]], None]
    Ender = Callable[[int, int], None]
    Midwife = Callable[["Child", dict[str, Any] | None], None]

_SIGKILL = 9
_NAME = ctypes.create_string_buffer(child.NAME)


class Child:
    """A child as the supervisor sees it until exec: its pid, its cgroup, and a socket to talk over.

    ``heard`` is called with each message, then with ``None`` at the socket's end; ``ended`` with exit code
    and signal before the child is reaped. ``pid`` is 0 until it is born.
    """

    __slots__ = (
        "_early",
        "_loop",
        "control",
        "ended",
        "group",
        "heard",
        "listening",
        "namespaces",
        "pid",
        "pidfd",
    )

    def __init__(self, loop: Loop, control: socket.socket, group: str, namespaces: frozenset[str]) -> None:
        self._loop = loop
        self.control = control
        self.group = group
        self.namespaces = namespaces
        self.pid = 0
        self.pidfd = -1
        self.heard: Hearer = lambda message, descriptors: wire.close_all(descriptors)
        self.listening: ListenerHearer = lambda number, descriptors: wire.close_all(descriptors)
        self.ended: Ender = lambda exit_code, number: None
        self._early: list[tuple[dict[str, Any], list[int]]] = []

    def send(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Give an order; a dead child's end is found out elsewhere."""
        try:
            wire.send(self.control, message, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def listen(self) -> None:
        """Take all messages that are there now."""
        while self.control.fileno() >= 0:
            try:
                message, descriptors = wire.receive(self.control)
            except BlockingIOError:
                return
            except (OSError, wire.Malformed):
                message, descriptors = None, []
            if message is None:
                self.hang_up()
            elif not self.pid and not ("born" in message or "unborn" in message):
                self._early.append((message, descriptors))  # it was quicker than the news of its birth
                continue
            self._hear(message, descriptors)

    def _hear(self, message: dict[str, Any] | None, descriptors: list[int]) -> None:
        if message is not None and "listener" in message:  # beside its answers, and before exec's silent one
            self.listening(int(message["listener"]), descriptors)
        else:
            self.heard(message, descriptors)

    def replay(self) -> None:
        """Hear what the child said before its birth was known."""
        early, self._early = self._early, []
        for message, descriptors in early:
            self._hear(message, descriptors)

    def hang_up(self) -> None:
        """Close the socket: a child that has not been started dies of it."""
        if self.control.fileno() >= 0:
            self._loop.unwatch(self.control.fileno())
            self.control.close()

    def kill(self) -> None:
        """SIGKILL."""
        if self.pidfd >= 0:
            try:
                kernel.pidfd_send_signal(self.pidfd, _SIGKILL)
            except ProcessLookupError:
                pass


class Nursery:
    """Makes children, and hears of the end of all of them."""

    def __init__(
        self,
        loop: Loop,
        hierarchy: Hierarchy,
        launchers: Mapping[str, Launcher],
        open_files: tuple[int, int],
    ) -> None:
        self.loop = loop
        self.hierarchy = hierarchy
        self.launchers = launchers
        self._open_files = open_files
        self._born_in_cgroup = hierarchy.mode == "v2" and kernel.clones_into_cgroups()
        self._living: dict[int, Child | None] = {}  # None: a helper
        self._unborn = 0

    def clone(
        self, group: str, namespaces: frozenset[str], born: Midwife, joined: Mapping[str, int] | None = None
    ) -> Child:
        """Make a child in new namespaces, in those ``joined`` by descriptor, and in the new cgroup ``group``.

        ``born(child, None)`` is called when it is there, ``born(child, error)`` when it will never be.
        """
        ours, theirs = wire.pair()
        return self._begin(Child(self.loop, ours, group, namespaces), theirs, -1, 0, born, joined or {})

    def enter(
        self, group: str, container: int, kinds: int, order: tuple[dict[str, Any], list[int]], born: Midwife
    ) -> Child:
        """Make a child in the namespaces ``kinds`` of the process behind pidfd ``container`` and in its cgroup.

        Its first ``order`` waits for it already.
        """
        ours, theirs = wire.pair()
        new = Child(self.loop, ours, group, frozenset())
        try:
            new.send(*order)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        return self._begin(new, theirs, container, kinds, born, {})

    def _begin(
        self,
        new: Child,
        theirs: socket.socket,
        container: int,
        kinds: int,
        born: Midwife,
        joined: Mapping[str, int],
    ) -> Child:
        new.control.setblocking(False)
        try:
            pid, pidfd = kernel.clone3()
        except BaseException:
            new.control.close()
            theirs.close()
            raise
        if pid == 0:
            self._help(theirs, new, container, kinds, joined)
        os.close(pidfd)
        theirs.close()
        self._living[pid] = None
        self._unborn += 1
        new.heard = lambda message, descriptors: self._on_birth(new, born, message, descriptors)
        self.loop.watch(new.control.fileno(), READ, lambda events: new.listen())
        return new

    def _on_birth(
        self, new: Child, born: Midwife, message: dict[str, Any] | None, descriptors: list[int]
    ) -> None:
        self._unborn -= 1
        new.heard = lambda message, descriptors: wire.close_all(descriptors)
        if message is None or "unborn" in message:
            wire.close_all(descriptors)
            new.hang_up()
            gone = {"step": "clone", "errno": 0, "detail": "the helper died", "status": child.FAILED}
            guard(born, new, message["unborn"] if message else gone)
        else:
            new.pid, new.pidfd = message["born"], descriptors[0]
            self._living[new.pid] = new
            guard(born, new, None)
            new.replay()
        self.loop.later(0, self.reap)  # it may have lived and died before we heard of it

    def reap(self) -> None:
        """Bury every child that has ended, each after its end was dealt with: a supervisor that dies in
        between leaves the daemon a zombie to ask; wait(2)."""
        while True:
            try:
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if seen is None:
                return
            if seen.si_pid not in self._living and self._unborn:
                return  # perhaps the child of a birth that is not announced yet
            ended = self._living.pop(seen.si_pid, None)
            if ended is not None:
                killed = seen.si_code != os.CLD_EXITED
                number = seen.si_status if killed else 0
                guard(ended.listen)
                guard(ended.ended, 128 + number if killed else seen.si_status, number)
            os.waitid(os.P_PID, seen.si_pid, os.WEXITED)

    # --- in the helper ---

    def _help(
        self, control: socket.socket, new: Child, container: int, kinds: int, joined: Mapping[str, int]
    ) -> NoReturn:
        """The helper's whole life."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            kernel.prctl(flags.PR_SET_NAME, ctypes.addressof(_NAME))
            kept = sorted({control.fileno(), container, *joined.values()} - {-1})
            for low, high in zip([2, *kept], [*kept, os.sysconf("SC_OPEN_MAX")], strict=True):
                os.closerange(low + 1, high)
            self._deliver(control, new, container, kinds, joined)
        except OSError as error:
            step, _, text = (error.strerror or "").partition(": ")
            detail = str(error.filename or "")
            unborn = {"step": step if text else "cgroup", "errno": error.errno or 0, "detail": detail}
            wire.send(control, {"unborn": unborn | {"status": child.FAILED}})
        finally:
            os._exit(child.FAILED)
        raise AssertionError  # unreachable; tells the type checker so

    def _deliver(
        self, control: socket.socket, new: Child, container: int, kinds: int, joined: Mapping[str, int]
    ) -> None:
        own_cgroup = "cgroup" in new.namespaces
        take_cgroup = child.new_cgroup_namespace if own_cgroup else child.keep_cgroup_namespace
        if container < 0:
            self.hierarchy.create(new.group)
        directory = self.hierarchy.into(new.group) if self._born_in_cgroup else None
        if directory is None:
            self.hierarchy.join(new.group, 0)
        elif kinds & flags.CLONE_NEWCGROUP:
            # From within the container's namespace nobody gets into its group from without: the child enters it later.
            kinds &= ~flags.CLONE_NEWCGROUP
            take_cgroup = _entering_cgroup_namespace(container)
        if container >= 0:
            # From the moment the child is seen inside until its exec nobody there may trace it or open what it has
            # open, whatever they are allowed: a copy of our memory belongs to the host's user namespace.
            kernel.prctl(flags.PR_SET_DUMPABLE, 0)
            if kinds:  # else it shares all of ours, as a launcher's process that keeps a runtime's container
                _enter_namespaces(container, kinds)
            os.close(container)
        for name in sorted(joined, key=("user",).count, reverse=True):  # first the one that owns the others
            kernel.setns(joined[name], flags.NAMESPACES[name])
            os.close(joined[name])
        pid, pidfd = kernel.clone3(
            new.namespaces - {"cgroup"}, flags.CLONE_PARENT, -1 if directory is None else directory
        )
        if pid == 0:
            if directory is not None:
                os.close(directory)
            child.live(control, self.launchers, take_cgroup, self._open_files)
        wire.send(control, {"born": pid}, [pidfd])
        os._exit(0)


def _entering_cgroup_namespace(container: int) -> Callable[[], None]:
    """What a child calls to enter the cgroup namespace of the process behind pidfd ``container``."""
    ((descriptor, kind),) = _namespace_files(container, flags.CLONE_NEWCGROUP)

    def enter() -> None:
        kernel.setns(descriptor, kind)
        os.close(descriptor)

    return enter


def _enter_namespaces(container: int, kinds: int) -> None:
    """Enter the namespaces ``kinds`` of the process behind pidfd ``container``; before Linux 5.8 each by its own file."""
    try:
        kernel.setns(container, kinds)
        return
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    for descriptor, kind in _namespace_files(container, kinds):
        kernel.setns(descriptor, kind)
        os.close(descriptor)


def _namespace_files(container: int, kinds: int) -> list[tuple[int, int]]:
    """Descriptors of the namespaces ``kinds``, each with its flag: the user namespace first, which owns the others."""
    pid = exit_status.pid_of(container)
    files = [
        (os.open(f"/proc/{pid}/ns/{flags.PROC_NAMES.get(name, name)}", os.O_RDONLY | os.O_CLOEXEC), kind)
        for name, kind in flags.NAMESPACES.items()
        if kind & kinds
    ]
    if exit_status.pid_of(container) != pid:
        raise OSError(errno.ESRCH, "setns: No such process")  # it has ended, and its number may be another's
    return files
