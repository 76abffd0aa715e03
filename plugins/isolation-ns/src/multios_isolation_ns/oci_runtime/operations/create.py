"""``create ID``: everything short of the command (runtime.md, Create)."""

from __future__ import annotations

from multios_isolation_ns.oci_runtime import making

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS = making.OPTIONS


def run(request: Request) -> int:
    """The container's process stays behind, a child of whoever is our subreaper (prctl(2))."""
    request.at_most(1)
    making.make(
        request.shared["store"],
        request.container_id,
        request.own,
        request.shared.get("--systemd-cgroup", False),
    )
    return 0
