"""``update ID``: other limits while it runs; ``--resources FILE`` is ``linux.resources`` as JSON, ``-`` standard input."""

from __future__ import annotations

import json
import sys

from multios.errors import InvalidInput
from multios_isolation_ns.oci_runtime import command_line, life, resources
from multios_isolation_ns.oci_runtime.control_group import ControlGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios_isolation_ns.oci_runtime.command_line import Request

_FIELDS = {
    "--memory": ("memory", "limit"),
    "--memory-swap": ("memory", "swap"),
    "--memory-reservation": ("memory", "reservation"),
    "--cpu-share": ("cpu", "shares"),
    "--cpu-quota": ("cpu", "quota"),
    "--cpu-period": ("cpu", "period"),
    "--cpuset-cpus": ("cpu", "cpus"),
    "--cpuset-mems": ("cpu", "mems"),
    "--pids-limit": ("pids", "limit"),
    "--blkio-weight": ("blockIO", "weight"),
}
OPTIONS = {"--resources": "value", "-r": "--resources"} | dict.fromkeys(_FIELDS, "value")


def run(request: Request) -> int:
    """Write them."""
    request.at_most(1)
    record = life.require(request.shared["store"], request.container_id, "created", "running", "paused")
    group = ControlGroup.at(record["cgroup"])
    section = _section(request)
    if section.pop("devices", None):
        raise InvalidInput("update: device rules are set once", "leave devices out")
    resources.apply(group, section)
    return 0


def _section(request: Request) -> dict[str, Any]:
    path = request.own.get("--resources")
    if path:
        try:
            if path == "-":
                section = json.load(sys.stdin)
            else:
                with open(path, encoding="utf-8") as file:
                    section = json.load(file)
        except ValueError as error:
            raise InvalidInput(
                f"--resources: {error}", "give linux.resources of the runtime spec as JSON"
            ) from None
        if not isinstance(section, dict):
            raise InvalidInput("--resources is no JSON object")
        return section
    section = {}
    for name, (part, key) in _FIELDS.items():
        if name in request.own:
            text = name.startswith("--cpuset")
            value = request.own[name] if text else command_line.number(request, name)
            section.setdefault(part, {})[key] = value
    return section
