"""A bundle's configuration, checked and translated to the launcher's plan (runtime-spec, config.md, bundle.md)."""

from __future__ import annotations

import json
import os

from multios.errors import InvalidInput, Unsupported
from multios.supervisor import flags
from multios_isolation_ns import plan, seccomp
from multios_isolation_ns.groups import v1_hierarchies
from multios_isolation_ns.mount_options import parse
from multios_isolation_ns.oci_runtime import detached, hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios_isolation_ns.oci_runtime.control_group import ControlGroup

_APPARMOR = "/sys/kernel/security/apparmor"
_ASSUMED = (
    "pid",
    "ipc",
    "cgroup",
)  # the plan wants these of a container's own; without them ours is made to fit


class Bundle:
    """What was asked for, taken apart: namespaces to make and to join, hooks, id maps, and the rest as a spec."""

    def __init__(self, directory: str, spec: dict[str, Any]) -> None:
        self.directory = directory
        self.spec = spec
        self.linux: dict[str, Any] = spec.get("linux") or {}
        self.hooks = hooks.checked(spec.get("hooks") or {})
        self.joined: dict[str, str] = {}
        self.new: set[str] = set()
        for entry in self.linux.get("namespaces") or ():
            kind = str(entry.get("type"))
            if kind not in plan.NAMESPACES:
                raise InvalidInput(f"unknown namespace {kind!r}", f"known are {', '.join(plan.NAMESPACES)}")
            if kind in self.new or kind in self.joined:
                raise InvalidInput(f"the namespace {kind!r} is named twice")
            if entry.get("path"):
                self.joined[kind] = _absolute("linux.namespaces.path", entry["path"])
            else:
                self.new.add(kind)
        self._check()

    def _check(self) -> None:
        if not isinstance(self.spec.get("process"), dict):
            raise InvalidInput("config.json has no process", "see runtime-spec, config.md, Process")
        if "mount" not in self.new:
            how = (
                "joining another's mount namespace"
                if "mount" in self.joined
                else "the host's mount namespace"
            )
            raise Unsupported(
                f"{how} for a container's first process", "add a mount namespace without a path"
            )
        mapped = bool(self.linux.get("uidMappings") or self.linux.get("gidMappings"))
        if "user" in self.new and not (self.linux.get("uidMappings") and self.linux.get("gidMappings")):
            raise InvalidInput("a new user namespace needs uidMappings and gidMappings")
        if mapped and "user" not in self.new and "user" not in self.joined:
            raise InvalidInput("uidMappings and gidMappings without a user namespace", "add one")
        plan.sysctls(self.linux.get("sysctl") or {}, self.new | self.joined.keys())
        spread = self.linux.get("rootfsPropagation")
        if spread and not detached.propagation(spread):
            raise InvalidInput(
                f"rootfsPropagation {spread!r}", f"known are {', '.join(detached.PROPAGATION)}"
            )
        if not os.path.isdir(self.rootfs):
            raise InvalidInput(
                f"the root filesystem {self.rootfs} is not a directory", "see root.path of config.json"
            )
        if "user" in self.new or "user" in self.joined:
            self.owner = int((self.linux.get("uidMappings") or [{"hostID": 0}])[0]["hostID"])
        else:
            self.owner = 0

    @property
    def rootfs(self) -> str:
        """The root filesystem's path on the host."""
        path = str((self.spec.get("root") or {}).get("path") or "")
        return os.path.normpath(os.path.join(self.directory, path)) if path else ""

    @property
    def own_user_namespace(self) -> bool:
        """Whether ids inside are not the host's."""
        return "user" in self.new or "user" in self.joined

    def id_maps(self) -> dict[str, str]:
        """The lines for uid_map and gid_map of a new user namespace; user_namespaces(7)."""
        if "user" not in self.new:
            return {}
        return {
            f"{kind}_map": "".join(
                f"{int(one['containerID'])} {int(one['hostID'])} {int(one['size'])}\n"
                for one in self.linux[f"{kind}Mappings"]
            )
            for kind in ("uid", "gid")
        }

    def made(self, group: ControlGroup, cache: str) -> tuple[dict[str, Any], list[int]]:
        """The plan and the detached mounts it speaks of, the caller's to close."""
        program, program_flags = compiled(self.linux.get("seccomp"), cache)
        mounts = list(self.spec.get("mounts") or ())
        binds = [entry for entry in mounts if _is_bind(entry)]
        result = plan.container(
            self._plain(mounts),
            v1_hierarchies(group),
            [entry["destination"] for entry in binds],
            program,
            program_flags,
        )
        result["own_network"] = "network" in self.new
        spread = detached.propagation(self.linux.get("rootfsPropagation") or "")
        result["propagation"] = spread
        copied = {
            os.path.normpath(one["destination"])
            for one in mounts
            if "tmpcopyup" in (one.get("options") or ())
        }
        descriptors: list[int] = []
        try:
            private = flags.MS_PRIVATE | flags.MS_REC
            first = spread | flags.MS_REC if spread and not spread & flags.MS_UNBINDABLE else private
            descriptors.append(detached.clone(self.rootfs, 0, True, first, "root"))
            for place in result["mounts"]:
                if place["kind"] == "bind":
                    place["descriptor"] = len(descriptors)
                    descriptors.append(self._bind(binds.pop(0)))
                elif place["kind"] == "tmpfs":
                    place["copy_up"] = place["target"] in copied
                elif place["kind"] in ("cgroup", "cgroup2") and "cgroup" not in self.new:
                    self._show_group(place, group, descriptors)
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        return result, descriptors

    def _plain(self, mounts: list[dict[str, Any]]) -> dict[str, Any]:
        """The spec without what this module and its callers see to."""
        kinds = [
            *self.new,
            *self.joined,
            *(kind for kind in _ASSUMED if kind not in self.new | self.joined.keys()),
        ]
        dropped = ("rootfsPropagation", "resources")
        linux = {key: value for key, value in self.linux.items() if key not in dropped}
        plain = {key: value for key, value in self.spec.items() if key != "hooks"}
        return plain | {
            "linux": linux | {"namespaces": [{"type": kind} for kind in kinds]},
            "process": plain_process(self.spec["process"]),
            "mounts": [
                entry | {"options": _without_ours(entry)} | ({"type": "bind"} if _is_bind(entry) else {})
                for entry in mounts
            ],
        }

    def _bind(self, entry: dict[str, Any]) -> int:
        words = list(entry.get("options") or ())
        asked = [word for word in words if detached.propagation(word)]
        spread = detached.propagation(asked[-1]) if asked else flags.MS_PRIVATE | flags.MS_REC
        options = parse(entry["destination"], _without_ours(entry))
        source = os.path.join(self.directory, str(entry.get("source") or ""))
        what = f"bind mount at {entry['destination']}"
        return detached.clone(source, options.attributes, options.recursive, spread, what)

    def _show_group(self, place: dict[str, Any], group: ControlGroup, descriptors: list[int]) -> None:
        """Without a cgroup namespace, the container sees its own group by bind mounts."""
        shown = {names: group.path(names.split(",")[0], group.name) for names in v1_hierarchies(group)}
        if not shown:
            shown = {"": group.path("unified", group.name)}
        place["kind"], place["groups"] = "cgroup-binds", {}
        read_only = flags.MOUNT_ATTR_RDONLY if place["flags"] & flags.MS_RDONLY else 0
        for names, directory in shown.items():
            place["groups"][names] = len(descriptors)
            descriptors.append(detached.clone(directory, read_only, True, flags.MS_PRIVATE, "cgroup mount"))


def read(directory: str) -> Bundle:
    """The bundle in ``directory``."""
    directory = os.path.abspath(directory)
    try:
        with open(f"{directory}/config.json", encoding="utf-8") as file:
            spec = json.load(file)
    except FileNotFoundError:
        raise InvalidInput(
            f"no config.json in {directory}", "give the bundle's directory with --bundle"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{directory}/config.json: {error}", "see runtime-spec, config.md") from None
    version = str(spec.get("ociVersion") if isinstance(spec, dict) else "")
    if not version.startswith("1."):
        raise InvalidInput(f"config.json: ociVersion {version!r} is not 1.x")
    try:
        return Bundle(directory, spec)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInput(f"config.json is malformed ({type(error).__name__}: {error})") from None


def compiled(section: dict[str, Any] | None, cache: str) -> tuple[bytes, int]:
    """The filter's program and flags; none for no section."""
    if not section:
        return b"", 0
    with open(seccomp.program_file(section, cache), "rb") as file:
        return file.read(), seccomp.installation_flags(section)


def plain_process(section: dict[str, Any]) -> dict[str, Any]:
    """A ``process`` without what says nothing to us; a label that asks for confinement is ``Unsupported``."""
    if section.get("selinuxLabel"):
        raise Unsupported("process.selinuxLabel: this runtime applies none", "leave it out")
    plain = {key: value for key, value in section.items() if key != "selinuxLabel"}
    if section.get("apparmorProfile") in ("", "unconfined", None):
        plain.pop("apparmorProfile", None)
    elif not os.path.exists(_APPARMOR):
        raise Unsupported(
            f"process.apparmorProfile {section['apparmorProfile']!r}: this host has no AppArmor",
            "leave it out",
        )
    user = {key: value for key, value in (section.get("user") or {}).items() if key != "username"}
    return plain | {"user": user}


def _is_bind(entry: dict[str, Any]) -> bool:
    return entry.get("type") == "bind" or bool({"bind", "rbind"} & set(entry.get("options") or ()))


def _without_ours(entry: dict[str, Any]) -> list[str]:
    ours = ("tmpcopyup", "notmpcopyup")
    return [
        word for word in entry.get("options") or () if word not in ours and not detached.propagation(word)
    ]


def _absolute(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise InvalidInput(f"{field}: {value!r} is not an absolute path")
    return value
