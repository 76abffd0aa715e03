"""``run ID``: create, start, wait for the end, delete; with ``--detach`` no more than the first two."""

from __future__ import annotations

from multios_isolation_ns.oci_runtime import console, life, making, starting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS = making.OPTIONS | {"--detach": "flag", "-d": "--detach", "--keep": "flag"}


def run(request: Request) -> int:
    """The command's exit status, 128 and the signal's number for one that was killed."""
    request.at_most(1)
    kept, container_id = request.shared["store"], request.container_id
    newborn = making.make(kept, container_id, request.own, request.shared.get("--systemd-cgroup", False))
    try:
        starting.start(kept, container_id)
    except BaseException:
        record = kept.read(container_id)
        newborn.end()
        life.delete(kept, record)
        raise
    if request.own.get("--detach"):
        return 0
    status = console.wait(newborn.pid, newborn.pidfd)
    if not request.own.get("--keep"):
        life.delete(kept, kept.read(container_id))
    return status
