"""``features``: what this runtime knows, as JSON (runtime-spec, features.md, features-linux.md)."""

from __future__ import annotations

import json

from multios_isolation_ns import capabilities, mount_options, plan, seccomp
from multios_isolation_ns.oci_runtime import SPEC_VERSION, VERSION, detached, hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS: dict[str, str] = {}


def run(request: Request) -> int:
    """Print it."""
    request.at_most(0)
    words = [*mount_options.words(), *detached.PROPAGATION, *(f"r{word}" for word in detached.PROPAGATION)]
    shown = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(hooks.KINDS),
        "mountOptions": sorted([*words, "tmpcopyup"]),
        "linux": {
            "namespaces": list(plan.NAMESPACES),
            "capabilities": [f"CAP_{name}" for name in capabilities.NAMES],
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {
                "enabled": True,
                "actions": seccomp.actions(),
                "operators": seccomp.operators(),
                "supportedFlags": seccomp.flag_names(),
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {"org.multios.version": VERSION},
        "potentiallyUnsafeConfigAnnotations": [],
    }
    print(json.dumps(shown, indent=2))
    return 0
