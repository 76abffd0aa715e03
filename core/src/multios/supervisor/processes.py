"""What the supervisor knows of a process: a container's first one, or one of exec."""

from __future__ import annotations

import os

from multios.supervisor import flags, id_map
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.supervisor.birth import Child
    from multios.supervisor.connections import Reply
    from multios.supervisor.streams import Streams

# Life goes downwards through these; FAILED means that the caller was told, so no exit is recorded.
RESERVING, RESERVED, CREATING, CREATED = "reserving", "reserved", "creating", "created"
STARTING, RUNNING, STOPPED, FAILED = "starting", "running", "stopped", "failed"
NEVER_STARTED = (RESERVING, RESERVED, CREATING, CREATED, FAILED)


def other_namespaces(pid: int) -> int:
    """Flags of the namespaces that process ``pid`` does not share with the caller."""
    kinds = 0
    for name, flag in flags.NAMESPACES.items():
        entry = "ns/" + flags.PROC_NAMES.get(name, name)
        try:
            if os.readlink(f"/proc/{pid}/{entry}") != os.readlink(f"/proc/self/{entry}"):
                kinds |= flag
        except FileNotFoundError:
            if not os.path.exists(f"/proc/{pid}/ns"):
                raise ProcessLookupError(3, "No such process", str(pid)) from None
    return kinds


class Process:
    """``owner`` is the host's id of its container's root. ``child`` is ``None`` for one of a predecessor's."""

    def __init__(self, process_id: str, container_id: str, launcher: str, status: str) -> None:
        self.id = process_id
        self.container_id = container_id
        self.launcher = launcher
        self.status = status
        self.pid = 0
        self.pidfd = -1
        self.group = ""
        self.owner = 0
        self.child: Child | None = None
        self.streams: Streams | None = None
        self.reply: Reply | None = None
        self.forgetting: list[Reply] = []
        self.watch: dict[str, Any] | None = None
        """How its refused calls are watched; see :class:`multios.supervisor.watches.Listener`."""
        self.alive = True

    @property
    def is_container(self) -> bool:
        """Whether it is a container's first process."""
        return self.id == self.container_id

    def signal(self, number: int) -> None:
        """Signal it; one that has ended is no error."""
        if self.pidfd >= 0:
            try:
                kernel.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                pass

    def describe(self) -> dict[str, Any]:
        """All that a successor needs to know, besides the descriptors of :meth:`copies`."""
        log = self.streams.log if self.streams else None
        return {
            "id": self.id,
            "container_id": self.container_id,
            "pid": self.pid,
            "status": self.status,
            "launcher": self.launcher,
            "cgroup": self.group,
            "owner": self.owner,
            "adopted": self.child is None,
            "terminal": bool(self.streams and self.streams.terminal),
            "log": log.settings() if log else None,
        }

    def copies(self) -> tuple[list[str], list[int]]:
        """The names and the descriptors of which the daemon keeps copies: pidfd, outputs, a waiting stdin."""
        names, descriptors = ["pidfd"], [self.pidfd]
        for output in self.streams.outputs if self.streams else ():
            if output.descriptor >= 0:
                names.append(output.name)
                descriptors.append(output.descriptor)
        if self.streams and self.streams.stdin >= 0:
            names.append("stdin")
            descriptors.append(self.streams.stdin)
        return names, descriptors

    def other_namespaces(self) -> int:
        """Flags of the namespaces that it does not share with us, for setns(2), which refuses those it does."""
        return other_namespaces(self.pid)

    def write_id_map(self, start: int, size: int) -> None:
        """Give its user namespace our ids ``start`` …; user_namespaces(7)."""
        for name in ("uid_map", "gid_map"):
            text = id_map.lines(name, start, size)
            with open(f"/proc/{self.pid}/{name}", "w", encoding="ascii") as file:
                file.write(text)

    def open_namespace(self, name: str) -> int:
        """A descriptor of one of its namespaces."""
        entry = flags.PROC_NAMES.get(name, name)
        return os.open(f"/proc/{self.pid}/ns/{entry}", os.O_RDONLY | os.O_CLOEXEC)
