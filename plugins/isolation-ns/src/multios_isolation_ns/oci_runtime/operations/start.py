"""``start ID``: let a created container run (runtime.md, Start)."""

from __future__ import annotations

from multios_isolation_ns.oci_runtime import starting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS: dict[str, str] = {}


def run(request: Request) -> int:
    """Return when it has become its command."""
    request.at_most(1)
    starting.start(request.shared["store"], request.container_id)
    return 0
