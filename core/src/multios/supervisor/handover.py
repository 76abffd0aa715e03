"""What a supervisor takes over from one that died: the daemon's copies of its processes' descriptors.

The processes are not its children, so it cannot wait for them. Whoever is their parent now, as a rule the
daemon, says how they ended; where anyone may learn it, it looks itself.
"""

from __future__ import annotations

from multios.supervisor import exit_status, processes, wire
from multios.supervisor.complaint import complain
from multios.supervisor.exits import is_process_id
from multios.supervisor.logs import Log
from multios.supervisor.loop import READ
from multios.supervisor.processes import Process
from multios.supervisor.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.supervisor.supervision import Supervision

ASK_SECONDS = 0.2
LONGEST_PAUSE = 60.0


def adopt(supervision: Supervision, described: dict[str, Any], names: list[str], copies: list[int]) -> None:
    """Go on with a predecessor's process; ``described`` is its ``Process.describe()``. Owns ``copies``."""
    process_id, container_id = described["id"], described["container_id"]
    known = process_id in supervision.processes or process_id in supervision.exits.records
    if known or not is_process_id(process_id) or len(names) != len(copies) or "pidfd" not in names:
        wire.close_all(copies)
        return
    process = Process(process_id, container_id, str(described["launcher"]), str(described["status"]))
    process.pid, process.owner = int(described["pid"]), int(described["owner"])
    process.group = str(described["cgroup"])
    ends = dict(zip(names, copies, strict=True))
    process.pidfd = ends.pop("pidfd")
    log = described["log"]
    settings = _reopened(log) if log else None
    process.streams = Streams(supervision.transit, settings, bool(described["terminal"]))
    process.streams.stdin = ends.pop("stdin", -1)
    for name, descriptor in ends.items():
        process.streams.add(supervision.loop, name, descriptor)
    supervision.processes[process_id] = process
    supervision.loop.watch(process.pidfd, READ, lambda events: _on_end(supervision, process))
    supervision.tell_process(process)


def _on_end(supervision: Supervision, process: Process) -> None:
    supervision.loop.unwatch(process.pidfd)
    _ask_kernel(supervision, process)


def _ask_kernel(supervision: Supervision, process: Process) -> None:
    """Ask until somebody has reaped it: the daemon's word may come first."""
    if not process.alive:
        return
    try:
        status = exit_status.of_ended(process.pidfd)
    except OSError:
        return  # an older kernel, and it has been reaped: only a parent knows
    if status is None:
        supervision.loop.later(ASK_SECONDS, lambda: _ask_kernel(supervision, process))
    else:
        supervision.end(process, *exit_status.split(status))


def ended(supervision: Supervision, process_id: str, exit_code: int | None, number: int, when: float) -> None:
    """A parent's word on an adopted process; a second word on the same is ignored."""
    process = supervision.processes.get(process_id)
    if process is not None and process.alive and process.child is None:
        if exit_code is None:
            _ask_kernel(supervision, process)  # we may have been quicker than who told us
        if process.alive:
            if process.status != processes.FAILED:
                supervision.loop.unwatch(process.pidfd)
            supervision.end(process, exit_code, number, when)


def sweep(supervision: Supervision, pause: float = 0.1) -> None:
    """Remove the cgroups of predecessors, whose names start with the id of a process that is gone.

    One that is not empty is looked at again, ever more seldom: what is in it is dying, or its owner unknown.
    """
    ours = {process.group for process in supervision.processes.values()}
    waiting = False
    for name in supervision.hierarchy.names():
        if name in ours or _has_a_supervisor(name):
            continue
        if supervision.hierarchy.processes(name):
            waiting = True
        else:
            supervision.hierarchy.remove(name)
    if waiting:
        supervision.loop.later(pause, lambda: sweep(supervision, min(2 * pause, LONGEST_PAUSE)))


def _has_a_supervisor(group: str) -> bool:
    """Whether the process after which :func:`multios.supervisor.slots.new_group` named it is still one of us."""
    maker = group.partition("-")[0]
    if not maker.isdigit():
        return True
    try:
        with open(f"/proc/{maker}/cmdline", "rb") as file:
            return b"multios.supervisor" in file.read()
    except OSError:
        return False


def _reopened(log: dict[str, Any]) -> Log | None:
    """Its log again; ``None`` if the container has been removed while it had no supervisor."""
    try:
        return Log(log["path"], log["max_size"], log["max_files"])
    except OSError as error:
        complain(f"log {log['path']}", error)
        return None
