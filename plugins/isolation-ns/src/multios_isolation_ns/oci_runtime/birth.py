"""How a process of a container comes into the world: as the caller's child, so that its shim is its parent in the end.

A helper joins the cgroup (on an idle cgroup v1 host the kernel takes 10 to 24 ms for that) and the namespaces that are
given by path, while this process goes on; then it clones the child with CLONE_PARENT. The child obeys as every child
of the supervisor does (``multios.supervisor.child``): here, too, it may import nothing once it is inside.
"""

from __future__ import annotations

import json
import os
import socket

from multios.cgroups.hierarchy import write
from multios.errors import StepFailed
from multios.supervisor import child, flags, wire
from multios.supervisor.syscalls import kernel
from multios_isolation_ns.oci_runtime import launch
from multios_isolation_ns.oci_runtime.failures import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from multios.supervisor.launcher import Launcher

_LAUNCHER = "oci"


class Newborn:
    """A child that waits for its orders; ``pid`` is 0 until :meth:`wait`."""

    def __init__(self, control: socket.socket, helper: int) -> None:
        self._control = control
        self._helper = helper
        self.pid = 0
        self.pidfd = -1

    def wait(self) -> None:
        """Until it is born, or ``StepFailed`` says why it will not be."""
        message, descriptors = wire.receive(self._control)
        os.waitpid(self._helper, 0)
        if message is None or "unborn" in message:
            raise failure(
                message["unborn"] if message else {"step": "clone", "errno": 0, "detail": "the helper died"}
            )
        self.pid, self.pidfd = message["born"], descriptors[0]

    def order(self, verb: str, plan: Mapping[str, Any], descriptors: Iterable[int], terminal: bool) -> int:
        """``create`` or ``enter``: a terminal's master comes back, the caller's, else -1."""
        memory = kernel.memfd_create("plan")
        pair = list(os.openpty()) if terminal else []
        try:
            with open(memory, "wb", closefd=False) as file:
                file.write(json.dumps(plan).encode())
            given = [memory, 0, 1, 2, *pair, *descriptors]
            order = {"do": verb, "launcher": _LAUNCHER, "terminal": terminal}
            wire.send(self._control, order, given)
        finally:
            wire.close_all([memory, *pair])
        received = self.hear(verb)
        return received[0] if received else -1

    def let_go(self) -> None:
        """After ``create``: it waits on its own now, with this process gone."""
        wire.send(self._control, {"do": "start"})

    def hear(self, step: str) -> list[int]:
        """The next good news and what came with it; ``StepFailed`` and its kin for bad."""
        message, descriptors = wire.receive(self._control)
        if message is None:
            raise StepFailed(step, "the process died")
        if "error" in message:
            raise failure(message["error"])
        return descriptors

    def executed(self) -> None:
        """Wait for exec(2), which closes the child's end of the socket."""
        message, descriptors = wire.receive(self._control)
        wire.close_all(descriptors)
        if message is not None and "error" in message:
            raise failure(message["error"])

    def end(self) -> None:
        """Kill and bury it."""
        if self.pidfd >= 0:
            try:
                kernel.pidfd_send_signal(self.pidfd, 9)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
            os.close(self.pidfd)
            self.pidfd = -1
        self._control.close()


def begin(
    groups: Iterable[str], joining: Sequence[tuple[int, int]], new: frozenset[str] = frozenset()
) -> Newborn:
    """Fork the helper. ``groups`` are cgroup directories, ``joining`` descriptors and the CLONE_NEW* flags to join of each."""
    ours, theirs = wire.pair()
    helper, pidfd = kernel.clone3()
    if helper:
        os.close(pidfd)
        theirs.close()
        return Newborn(ours, helper)
    status = child.FAILED
    try:
        ours.close()
        for group in groups:
            write(group + "/cgroup.procs", "0")
        if joining:
            # From the moment the child is seen inside nobody there may trace it or open what it has open.
            kernel.prctl(flags.PR_SET_DUMPABLE, 0)
        for descriptor, kinds in joining:
            kernel.setns(descriptor, kinds)
        pid, pidfd = kernel.clone3(new - {"cgroup"}, flags.CLONE_PARENT)
        if pid == 0:
            launchers: dict[str, Launcher] = {_LAUNCHER: launch}
            take_cgroup = child.new_cgroup_namespace if "cgroup" in new else child.keep_cgroup_namespace
            child.live(theirs, launchers, take_cgroup, None)
        wire.send(theirs, {"born": pid}, [pidfd])
        status = 0
    except OSError as error:
        step, _, text = (error.strerror or "").partition(": ")
        named = {
            "step": step if text else "join cgroup",
            "errno": error.errno or 0,
            "detail": str(error.filename or ""),
        }
        wire.send(theirs, {"unborn": named})
    finally:
        os._exit(status)
    raise AssertionError  # unreachable; tells the type checker so
