"""``resume ID``: let a paused container go on."""

from __future__ import annotations

from multios.cgroups import freezer
from multios_isolation_ns.oci_runtime import life
from multios_isolation_ns.oci_runtime.control_group import ControlGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS: dict[str, str] = {}


def run(request: Request) -> int:
    """Thaw it."""
    request.at_most(1)
    record = life.require(request.shared["store"], request.container_id, "paused")
    group = ControlGroup.at(record["cgroup"])
    freezer.thaw(group, group.name)
    return 0
