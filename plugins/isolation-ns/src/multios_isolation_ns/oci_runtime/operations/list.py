"""``list``: all containers below ``--root``."""

from __future__ import annotations

import json

from multios.errors import InvalidInput, NotFound
from multios_isolation_ns.oci_runtime.life import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS = {"--format": "value", "-f": "--format", "--quiet": "flag", "-q": "--quiet"}


def run(request: Request) -> int:
    """As JSON, a table, or ids only."""
    request.at_most(0)
    form = request.own.get("--format", "table")
    if form not in ("json", "table"):
        raise InvalidInput(f"--format {form!r}", "json or table")
    kept = request.shared["store"]
    rows = []
    for container_id in kept.ids():
        try:
            record = kept.read(container_id)
        except NotFound:
            continue  # being made, or deleted meanwhile
        status = status_of(kept, record)
        pid = 0 if status == "stopped" else record["pid"]
        rows.append({"id": container_id, "pid": pid, "status": status, "bundle": record["bundle"]})
    if request.own.get("--quiet"):
        print("".join(f"{row['id']}\n" for row in rows), end="")
    elif form == "json":
        print(json.dumps(rows))
    else:
        for row in ({"id": "ID", "pid": "PID", "status": "STATUS", "bundle": "BUNDLE"}, *rows):
            print(f"{row['id']:<24} {row['pid']:<8} {row['status']:<10} {row['bundle']}")
    return 0
