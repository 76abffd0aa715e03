"""The engine's spec as a runtime gets it: bind mounts by the places where they are attached, limits, id maps.

Runtimes leave out silently what they do not know; so what an old one may not know is refused here.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Mapping, Sequence
from typing import Any

from multios.drivers.isolation import Bundle
from multios.errors import InvalidInput, Unsupported
from multios_isolation_oci.launch import PLACE

log = logging.getLogger(__name__)
_KNOWN = {
    "": {"ociVersion", "process", "root", "hostname", "mounts", "annotations", "linux"},
    "process": {
        *("terminal", "consoleSize", "args", "env", "cwd", "user", "capabilities", "rlimits"),
        *("noNewPrivileges", "oomScoreAdj", "apparmorProfile"),
    },
    "linux": {
        *("namespaces", "uidMappings", "gidMappings", "devices", "resources", "seccomp", "sysctl"),
        *("maskedPaths", "readonlyPaths", "rootfsPropagation"),
    },
}
_INIT_ANNOTATION = "org.multios.init"


def adapted(bundle: Bundle, cgroup: str) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """The configuration for the runtime, and the spec's bind mounts in the order of their places (:func:`places`)."""
    spec = bundle.spec
    check(spec)
    linux = spec["linux"]
    own = [entry for entry in linux.get("namespaces") or () if entry["type"] != "time"]
    # A time namespace without offsets shows the host's clocks: that runtimes before runc 1.2 have none is no loss.
    if ("user" in {entry["type"] for entry in own}) != (bundle.id_map is not None):
        raise InvalidInput("a user namespace and an id map come together or not at all")
    mapping = {}
    if bundle.id_map is not None:
        entry = {"containerID": 0, "hostID": bundle.id_map.start, "size": bundle.id_map.size}
        mapping = {"uidMappings": [entry], "gidMappings": [entry]}
    binds = [entry for entry in spec.get("mounts") or () if entry["destination"] in bundle.volumes]
    sources = {
        entry["destination"]: f"{PLACE}/{name}" for entry, name in zip(binds, places(binds)[1:], strict=True)
    }
    mounts = [
        {**entry, "source": sources.get(entry["destination"], entry.get("source", ""))}
        for entry in spec.get("mounts") or ()
    ]
    section = device_rules(linux.get("resources") or {})
    config = {
        **spec,
        "root": {**(spec.get("root") or {}), "path": "rootfs"},
        "process": limited(spec["process"]),
        "mounts": mounts,
        "linux": {**linux, **mapping, "namespaces": own, "cgroupsPath": f"/{cgroup}", "resources": section},
    }
    return config, binds


def places(binds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the root and each bind mount are attached, below ``PLACE``."""
    return ["rootfs", *(f"volume-{number}" for number in range(len(binds)))]


def check(spec: Mapping[str, Any]) -> None:
    """Refuse what a runtime would leave out or we cannot pass on."""
    for name, known in _KNOWN.items():
        section = spec.get(name, {}) if name else spec
        for key in sorted(set(section) - known):
            if section[key] not in (None, "", 0, False, [], {}):
                place = f"{name}.{key}" if name else key
                raise Unsupported(
                    f"isolation driver oci cannot do {place} of the runtime spec", f"remove {place}"
                )
    if (spec.get("annotations") or {}).get(_INIT_ANNOTATION) == "true":
        raise Unsupported(
            "isolation driver oci has no init of its own", "leave out --init, or use --isolation ns"
        )
    for entry in spec.get("mounts") or ():
        if entry.get("uidMappings") or entry.get("gidMappings"):
            raise Unsupported(
                f"isolation driver oci cannot map the ids of the mount at {entry['destination']}",
                "use --isolation ns, or a named volume",
            )
    for entry in spec["linux"].get("namespaces") or ():
        if entry.get("path"):
            raise Unsupported(
                f"cannot join the {entry['type']} namespace {entry['path']}", "leave out its path"
            )


def device_rules(section: Mapping[str, Any]) -> dict[str, Any]:
    """``linux.resources`` with device rules: without any, every device is allowed. Limits are set afterwards, by cgroup."""
    return {**section, "devices": section.get("devices") or [{"allow": True, "access": "rwm"}]}


def limited(process: Mapping[str, Any]) -> dict[str, Any]:
    """A ``process`` whose rlimits this host permits: a higher one is brought down and logged."""
    limits = []
    for entry in process.get("rlimits") or ():
        number = getattr(resource, str(entry["type"]), None)
        if not isinstance(number, int):
            raise InvalidInput(f"unknown limit {entry['type']!r}", "see getrlimit(2) for the names")
        hard_now = resource.getrlimit(number)[1]
        soft, hard = int(entry["soft"]), int(entry["hard"])
        if 0 <= hard_now < hard and not _may_raise():
            log.warning("%s: %d was asked for, this host permits %d", entry["type"], hard, hard_now)
            soft, hard = min(soft, hard_now), hard_now
        limits.append({**entry, "soft": soft, "hard": hard})
    return {**process, "rlimits": limits}


def _may_raise() -> bool:
    """Whether we have CAP_SYS_RESOURCE (number 24, capabilities(7))."""
    with open("/proc/self/status", encoding="ascii") as file:
        return bool(next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:")) >> 24 & 1)
