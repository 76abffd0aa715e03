"""How a container stands, and its end."""

from __future__ import annotations

import os
import select
import sys

from multios.cgroups import freezer
from multios.errors import Conflict, MultiosError, StepFailed
from multios.supervisor.syscalls import kernel
from multios_isolation_ns.oci_runtime import hooks, store
from multios_isolation_ns.oci_runtime.control_group import ControlGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIGKILL = 9
_END_MILLISECONDS = 10_000


def status_of(kept: store.Store, record: dict[str, Any]) -> str:
    """``creating``, ``created``, ``running``, ``paused`` or ``stopped`` (runtime.md, State)."""
    if not record["made"] and not record["pid"]:
        return "creating"
    if not store.lives(record):
        return "stopped"
    if kept.waits(record["id"]):
        return "created" if record["made"] else "creating"
    return "paused" if is_frozen(ControlGroup.at(record["cgroup"])) else "running"


def is_frozen(group: ControlGroup) -> bool:
    """Whether the group stands still; a host without a freezer has none that does."""
    try:
        return freezer.frozen(group, group.name)
    except (OSError, MultiosError):
        return False


def require(kept: store.Store, container_id: str, *statuses: str) -> dict[str, Any]:
    """The record of a container in one of ``statuses``; others are ``Conflict``."""
    record = kept.read(container_id)
    status = status_of(kept, record)
    if status not in statuses:
        raise Conflict(f"container {container_id} is not {' or '.join(statuses)}: it is {status}")
    return record


def signal_first(record: dict[str, Any], number: int) -> None:
    """Signal the first process, and nobody who came to its number later."""
    try:
        pidfd = os.pidfd_open(record["pid"])
    except ProcessLookupError:
        raise Conflict(f"container {record['id']} is not running: it is stopped") from None
    try:
        if store.lives(record):
            kernel.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def kill(record: dict[str, Any]) -> None:
    """SIGKILL, and wait until it has died: frozen ones are thawed first."""
    group = ControlGroup.at(record["cgroup"])
    if record["pid"] and store.lives(record):
        pidfd = os.pidfd_open(record["pid"])
        try:
            signal_first(record, SIGKILL)
            group.kill(group.name)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(_END_MILLISECONDS):
                raise StepFailed("delete", f"container {record['id']} does not die", "see the kernel's log")
        finally:
            os.close(pidfd)


def delete(kept: store.Store, record: dict[str, Any]) -> None:
    """Remove what is left; poststop hooks are run last, and a failing one only warned of (config.md, Poststop)."""
    ControlGroup.at(record["cgroup"]).end()
    kept.remove(record["id"])
    for hook in record["hooks"].get("poststop", ()):
        try:
            hooks.run("poststop", [hook], store.state(record, "stopped"))
        except StepFailed as error:
            print(f"warning: {error.cause}", file=sys.stderr)
