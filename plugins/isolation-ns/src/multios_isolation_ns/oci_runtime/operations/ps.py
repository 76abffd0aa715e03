"""``ps ID``: the host's process numbers of all that runs in a container."""

from __future__ import annotations

import json

from multios.errors import InvalidInput
from multios_isolation_ns.oci_runtime.control_group import ControlGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS = {"--format": "value", "-f": "--format"}


def run(request: Request) -> int:
    """As JSON, or a line each."""
    request.at_most(1)
    form = request.own.get("--format", "table")
    if form not in ("json", "table"):
        raise InvalidInput(f"--format {form!r}", "json or table")
    record = request.shared["store"].read(request.container_id)
    group = ControlGroup.at(record["cgroup"])
    pids = group.processes(group.name)
    print(json.dumps(pids) if form == "json" else "\n".join(["PID", *map(str, pids)]))
    return 0
