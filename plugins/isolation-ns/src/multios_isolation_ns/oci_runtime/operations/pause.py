"""``pause ID``: freeze every process."""

from __future__ import annotations

from multios.cgroups import freezer
from multios_isolation_ns.oci_runtime import life
from multios_isolation_ns.oci_runtime.control_group import ControlGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS: dict[str, str] = {}


def run(request: Request) -> int:
    """Return when all stand still."""
    request.at_most(1)
    record = life.require(request.shared["store"], request.container_id, "running", "created")
    group = ControlGroup.at(record["cgroup"])
    freezer.freeze(group, group.name)
    return 0
