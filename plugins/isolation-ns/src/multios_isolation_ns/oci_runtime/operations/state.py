"""``state ID``: the State as JSON (runtime.md, State)."""

from __future__ import annotations

import json

from multios_isolation_ns.oci_runtime import store
from multios_isolation_ns.oci_runtime.life import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS: dict[str, str] = {}


def run(request: Request) -> int:
    """Print it."""
    request.at_most(1)
    kept = request.shared["store"]
    record = kept.read(request.container_id)
    shown = store.state(record, status_of(kept, record)) | {"rootfs": record["rootfs"]}
    print(json.dumps(shown, indent=2))
    return 0
