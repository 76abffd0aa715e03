"""From an OCI runtime spec (config.md, config-linux.md) to the launcher's plan: plain numbers and paths.

Pure: nothing is opened or mounted here. What the spec asks and we cannot do raises ``Unsupported``; nothing is
left out silently.
"""

from __future__ import annotations

import binascii
import os
import posixpath
import resource
import stat

from multios.errors import InvalidInput, Refused, Unsupported
from multios.supervisor import id_map
from multios_isolation_ns import landlock
from multios_isolation_ns.capabilities import bit_set
from multios_isolation_ns.mount_options import parse

TYPE_CHECKING = False  # typing is too heavy for the one-shot OCI runtime
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

INIT_ANNOTATION = "org.multios.init"
LANDLOCK_ANNOTATION = "org.multios.landlock"
NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
_DEFAULT_DEVICES = (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9))
_KNOWN = {
    "spec": {"ociVersion", "process", "root", "hostname", "domainname", "mounts", "annotations", "linux"},
    "process": {
        *("terminal", "consoleSize", "args", "env", "cwd", "user", "capabilities", "rlimits"),
        *("noNewPrivileges", "oomScoreAdj", "apparmorProfile"),
    },
    "user": {"uid", "gid", "umask", "additionalGids"},
    "root": {"path", "readonly"},
    "linux": {
        *(
            "namespaces",
            "uidMappings",
            "gidMappings",
            "devices",
            "resources",
            "cgroupsPath",
            "seccomp",
            "sysctl",
        ),
        *("maskedPaths", "readonlyPaths", "rootfsPropagation"),
    },
}
_NAMESPACE_OF_SYSCTL = (
    ("net.", "network"),
    ("fs.mqueue.", "ipc"),
    ("kernel.sem", "ipc"),
    ("kernel.shm", "ipc"),
    ("kernel.msg", "ipc"),
    ("kernel.hostname", "uts"),
    ("kernel.domainname", "uts"),
)


def refuse_unknown(section: str, value: Mapping[str, Any]) -> None:
    """Raise ``Unsupported`` for a key of ``section`` that asks for something we do not do."""
    for key in sorted(set(value) - _KNOWN[section]):
        if value[key] not in (None, "", 0, False, [], {}):
            place = key if section == "spec" else f"{section}.{key}"
            raise Unsupported(f"isolation driver ns cannot do {place} of the runtime spec", f"remove {place}")


def namespaces(spec: Mapping[str, Any], joined: Collection[str] = ()) -> list[str]:
    """The namespaces that the spec asks for: new ones, and with a path those ``joined``, of which the driver has descriptors."""
    names = []
    for entry in spec["linux"].get("namespaces") or ():
        if entry["type"] not in NAMESPACES:
            raise Unsupported(f"unknown namespace {entry['type']!r}", f"known are {', '.join(NAMESPACES)}")
        if bool(entry.get("path")) != (entry["type"] in joined):
            raise Unsupported(
                f"cannot join the {entry['type']} namespace {entry.get('path')}", "leave out its path"
            )
        names.append(str(entry["type"]))
    for needed in ("mount", "pid"):
        if needed not in names:
            raise Unsupported(f"a container without a {needed} namespace of its own", f"add {needed}")
    return names


def container(
    spec: Mapping[str, Any],
    hierarchies: Sequence[str],
    sources: Sequence[str],
    program: bytes,
    program_flags: int,
    joined: Collection[str] = (),
) -> dict[str, Any]:
    """The plan of a first process; ``joined`` of its namespaces are another container's.

    ``hierarchies`` are the host's cgroup v1 ones (controllers joined by commas; none: cgroup2 is mounted), and
    ``sources`` the targets whose bind mounts come as descriptors, in order; descriptor 0 is the root.
    """
    refuse_unknown("spec", spec)
    refuse_unknown("linux", spec["linux"])
    refuse_unknown("root", spec.get("root") or {})
    linux, own = spec["linux"], namespaces(spec, joined)
    new = [name for name in own if name not in joined]
    if linux.get("rootfsPropagation") not in (None, "", "private", "rprivate"):
        raise Unsupported(
            f"rootfsPropagation {linux['rootfsPropagation']!r}", "leave it out: mounts are private"
        )
    mounts = [_mount(entry, own, hierarchies, sources) for entry in spec.get("mounts") or ()]
    annotations = spec.get("annotations") or {}
    return {
        "root": 0,
        "root_read_only": bool((spec.get("root") or {}).get("readonly")),
        "mounts": [mount for mount in mounts if mount["kind"] != "proc"],
        "proc": next((mount for mount in mounts if mount["kind"] == "proc"), None),
        # Over a /dev that is the host's own nothing is made: that would change the host's.
        "devices": []
        if any(mount["target"] == "/dev" and mount["kind"] == "bind" for mount in mounts)
        else _devices(linux.get("devices") or (), "user" in own),
        "hostname": _name("hostname", spec, own),
        "domainname": _name("domainname", spec, own),
        "own_network": "network" in new,
        "sysctl": sysctls(linux.get("sysctl") or {}, new),
        "masked_paths": [_absolute(path) for path in linux.get("maskedPaths") or ()],
        "read_only_paths": [_absolute(path) for path in linux.get("readonlyPaths") or ()],
        **process(
            spec["process"],
            program,
            program_flags,
            annotations.get(INIT_ANNOTATION) == "true",
            landlock.ruleset(annotations.get(LANDLOCK_ANNOTATION) or ""),
        ),
    }


def process(
    section: Mapping[str, Any],
    program: bytes,
    program_flags: int,
    init: bool = False,
    ruleset: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The plan of a process of exec, and the part of a first process's plan that is the same."""
    refuse_unknown("process", section)
    user = section.get("user") or {}
    refuse_unknown("user", user)
    arguments = [str(word) for word in section.get("args") or ()]
    if not arguments or not arguments[0]:
        raise InvalidInput("the container has no command", "give one, or use an image that has one")
    environment = [str(word) for word in section.get("env") or ()]
    for word in (*arguments, *environment):
        if "\0" in word:
            raise InvalidInput(f"a null character in {word!r}", "remove it")
    for word in environment:
        if "=" not in word[1:]:
            raise InvalidInput(f"environment: {word!r} is not NAME=value", "write NAME=value")
    held = section.get("capabilities") or {}
    return {
        "terminal": bool(section.get("terminal")),
        "console_size": section.get("consoleSize") or None,
        "process": {
            "args": arguments,
            "env": environment,
            "cwd": _absolute(section.get("cwd") or "/"),
            "user": {
                "uid": _id("user.uid", user.get("uid", 0)),
                "gid": _id("user.gid", user.get("gid", 0)),
                "groups": [_id("user.additionalGids", one) for one in user.get("additionalGids") or ()],
            },
            "umask": _id("user.umask", user.get("umask", 0o022)) & 0o777,
            "capabilities": {
                name: bit_set(held.get(name) or ())
                for name in ("bounding", "permitted", "effective", "inheritable", "ambient")
            },
            "rlimits": [_limit(entry) for entry in section.get("rlimits") or ()],
            "no_new_privileges": bool(section.get("noNewPrivileges")),
            "oom_score_adj": section.get("oomScoreAdj"),
            "seccomp": binascii.b2a_base64(program, newline=False).decode(),
            "seccomp_flags": program_flags,
            "watched": False,
            "init": init,
            "apparmor": _apparmor_profile(section.get("apparmorProfile") or ""),
            "landlock": ruleset or None,
        },
    }


def _apparmor_profile(name: Any) -> str:
    text = str(name)
    if text == "unconfined":
        return ""
    if not text.isprintable() or len(os.fsencode(text)) > 4000:
        raise InvalidInput(f"apparmorProfile {text[:80]!r} is not a profile's name", "name a loaded profile")
    return text


def _mount(
    entry: Mapping[str, Any], own: Sequence[str], hierarchies: Sequence[str], sources: Sequence[str]
) -> dict[str, Any]:
    target = _absolute(entry["destination"])
    options = list(entry.get("options") or ())
    kind = str(entry.get("type") or ("bind" if {"bind", "rbind"} & set(options) else ""))
    if target == "/" or target.startswith("/proc/") or (target == "/proc") != (kind == "proc"):
        raise Refused(f"a {kind} mount at {target}", "choose another place inside the container")
    mount: dict[str, Any] = {"kind": kind, "target": target, "source": str(entry.get("source") or kind)}
    if kind == "bind":
        if entry["destination"] not in sources:
            raise InvalidInput(f"the bind mount at {target} came without a descriptor of its source")
        return mount | {"descriptor": 1 + sources.index(entry["destination"])}
    parsed = parse(target, options)
    mount |= {"flags": parsed.flags, "data": ",".join(parsed.data)}
    if kind in ("proc", "tmpfs", "devpts"):
        return mount
    if kind == "mqueue" and "ipc" in own:
        return mount
    if kind == "sysfs":
        return mount if "network" in own else mount | {"kind": "host-sysfs"}
    if kind in ("cgroup", "cgroup2") and "cgroup" in own:
        if kind == "cgroup" and hierarchies:
            return mount | {"hierarchies": list(hierarchies)}
        return mount | {"kind": "cgroup2"}
    raise Unsupported(
        f"a mount of type {kind!r} at {target}", "types are bind, tmpfs, proc, sysfs, devpts, mqueue, cgroup"
    )


def id_lines(mappings: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, int]]:
    """A mount's ``uidMappings`` or ``gidMappings`` as lines: the id on disk, the id on the host, how many."""
    return [
        (int(entry["containerID"]), int(entry["hostID"]), int(entry.get("size", 1))) for entry in mappings
    ]


def _devices(asked: Sequence[Mapping[str, Any]], user_namespace: bool) -> list[dict[str, Any]]:
    """The devices that every container has, then the spec's; a user namespace may not make nodes, only bind them."""
    devices = [_device(f"/dev/{name}", "c", 1, minor, 0o666, 0, 0) for name, minor in _DEFAULT_DEVICES]
    devices.append(_device("/dev/tty", "c", 5, 0, 0o666, 0, 0))
    for entry in asked:
        path, kind = _absolute(entry["path"]), str(entry["type"])
        if kind not in ("c", "u", "b", "p") or (kind == "p" and user_namespace):
            raise Unsupported(f"a device of type {kind!r} at {path}", "types are c, b")
        mode, owner = entry.get("fileMode"), (int(entry.get("uid") or 0), int(entry.get("gid") or 0))
        device = _device(
            path,
            kind,
            int(entry.get("major") or 0),
            int(entry.get("minor") or 0),
            0o666 if mode is None else int(mode),
            *owner,
        )
        devices = [one for one in devices if one["path"] != path] + [device | {"asked": user_namespace}]
    for device in devices:
        device["bind"] = user_namespace or not id_map.is_initial()
    return devices


def _device(path: str, kind: str, major: int, minor: int, mode: int, uid: int, gid: int) -> dict[str, Any]:
    kinds = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    owner = {"uid": uid, "gid": gid}
    return {"path": path, "mode": kinds[kind] | mode & 0o777, "major": major, "minor": minor, **owner}


def same_on_host(device: Mapping[str, Any]) -> None:
    """Raise ``Unsupported`` unless the host has this very device at the same path."""
    path = device["path"]
    try:
        found = os.stat(path)
    except OSError as error:
        raise Unsupported(
            f"device {path}: {error.strerror} on the host", "name the device as the host does"
        ) from None
    wanted = (stat.S_IFMT(device["mode"]), os.makedev(device["major"], device["minor"]))
    if (stat.S_IFMT(found.st_mode), found.st_rdev) != wanted:
        raise Unsupported(f"{path} on the host is another device", "name the device as the host does")


def sysctls(asked: Mapping[str, Any], own: Collection[str]) -> dict[str, str]:
    """The kernel parameters, all of namespaces that are the container's own; ``Refused`` for others."""
    for name in asked:
        kind = next((kind for start, kind in _NAMESPACE_OF_SYSCTL if name.startswith(start)), "")
        if not kind or "/" in name or ".." in name:
            raise Refused(
                f"sysctl {name!r} is not one of a container's own", "net.*, fs.mqueue.*, kernel.sem|shm*|msg*"
            )
        if kind not in own:
            raise Refused(
                f"sysctl {name!r} would be the host's", f"give the container its own {kind} namespace"
            )
    return {name: str(value) for name, value in asked.items()}


def _name(key: str, spec: Mapping[str, Any], own: Sequence[str]) -> str:
    value = str(spec.get(key) or "")
    if value and "uts" not in own:
        raise Refused(f"{key} {value!r} would be the host's", "give the container its own uts namespace")
    if len(os.fsencode(value)) > 64:
        raise InvalidInput(f"{key} is longer than 64 bytes", "choose a shorter one")
    return value


def _limit(entry: Mapping[str, Any]) -> list[int]:
    number = getattr(resource, str(entry["type"]), None)
    if not isinstance(number, int) or not str(entry["type"]).startswith("RLIMIT_"):
        raise InvalidInput(f"unknown limit {entry['type']!r}", "see getrlimit(2) for the names")
    soft, hard = int(entry["soft"]), int(entry["hard"])
    top = 1 << 63
    soft, hard = (-1 if value >= top - 1 or value < 0 else value for value in (soft, hard))
    if hard >= 0 and (soft < 0 or soft > hard):
        raise InvalidInput(f"{entry['type']}: the soft limit is above the hard one", "write soft:hard")
    return [number, soft, hard]


def _id(field: str, value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise InvalidInput(f"{field}: {value!r} is not a number from 0 to 4294967295", "give a number")
    return value


def _absolute(path: Any) -> str:
    text = str(path)
    if not text.startswith("/") or "\0" in text or len(text) > 4095:
        raise InvalidInput(f"{text[:80]!r} is not an absolute path", "start it with /")
    return "/" + posixpath.normpath(text).lstrip("/")
