"""``delete ID``: remove a stopped container (runtime.md, Delete); ``--force`` kills it first."""

from __future__ import annotations

from multios.errors import Conflict, NotFound
from multios_isolation_ns.oci_runtime import life

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS = {"--force": "flag", "-f": "--force"}


def run(request: Request) -> int:
    """An unknown container is an error unless forced."""
    request.at_most(1)
    kept, container_id = request.shared["store"], request.container_id
    force = request.own.get("--force", False)
    try:
        record = kept.read(container_id)
    except NotFound:
        if not force:
            raise
        kept.remove(container_id)  # a create that was killed before its first word
        return 0
    status = life.status_of(kept, record)
    if status != "stopped" and not force:
        raise Conflict(
            f"cannot delete container {container_id} that is not stopped: it is {status}",
            "kill it, or --force",
        )
    life.kill(record)
    life.delete(kept, record)
    return 0
