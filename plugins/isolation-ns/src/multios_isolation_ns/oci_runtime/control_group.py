"""The container's cgroup, at the path that the spec's ``cgroupsPath`` gives (config-linux.md, "Cgroups Path").

``/a/b`` counts from the top of every hierarchy, ``a/b`` from the group ``multios``; without a path it is ``multios/ID``.
"""

from __future__ import annotations

import os

from multios.cgroups.hierarchy import Hierarchy
from multios.errors import Conflict, InvalidInput, StepFailed, Unsupported

_DEFAULT_PARENT = "multios"


def path_of(asked: str, container_id: str, systemd: bool) -> str:
    """The group's path below every hierarchy's top, without a leading slash; checked."""
    if systemd:
        raise Unsupported(
            "this runtime makes cgroups itself and does not ask systemd for them (--systemd-cgroup)",
            "use the cgroup manager cgroupfs: podman --cgroup-manager cgroupfs, dockerd --exec-opt native.cgroupdriver=cgroupfs",
        )
    path = asked or container_id
    parts = [part for part in path.split("/") if part]
    if not parts or any(part in (".", "..") or "\0" in part or "\n" in part for part in parts):
        raise InvalidInput(f"linux.cgroupsPath {path!r} is not a path of groups")
    return "/".join(parts if path.startswith("/") else [_DEFAULT_PARENT, *parts])


class ControlGroup(Hierarchy):
    """One group; the methods of :class:`Hierarchy` are called with :attr:`name`."""

    name = ""

    @classmethod
    def at(cls, path: str) -> ControlGroup:
        """The group at ``path``, which need not exist."""
        group = cls.find(_DEFAULT_PARENT)
        assert isinstance(group, cls)  # which find() makes, but does not say to type checkers
        group.parent, group.name = os.path.dirname(path) or ".", os.path.basename(path)
        bases = [*group.v1.values(), *([group.unified] if group.unified else [])]
        group._parents = [f"{base}/{group.parent}" for base in dict.fromkeys(bases)]
        group._cpusets = [f"{base}/{group.parent}" for key, base in group.v1.items() if key == "cpuset"]
        return group

    def path(self, controller: str, name: str) -> str:
        """As the base's, but for any name."""
        if controller in self.v1:
            return f"{self.v1[controller]}/{self.parent}/{name}"
        if self.unified and (controller == "unified" or controller in self.v2_controllers):
            return f"{self.unified}/{self.parent}/{name}"
        return ""

    def paths(self, name: str) -> list[str]:
        """As the base's, but for any name."""
        return [f"{parent}/{name}" for parent in self._parents]

    def make(self) -> None:
        """Make it; an empty one that is there is made anew, one that holds processes is ``Conflict``."""
        try:
            try:
                self.create(self.name)
            except FileExistsError:
                if self.processes(self.name):
                    raise Conflict(
                        f"the cgroup {self.parent}/{self.name} holds processes", "choose another cgroupsPath"
                    ) from None
                self.remove(self.name)
                self.create(self.name)
        except OSError as error:
            raise StepFailed("create cgroup", f"{error.strerror} ({error.filename})") from error

    def end(self) -> None:
        """Kill whoever is in it, and remove it."""
        self.kill(self.name)
        try:
            self.remove(self.name)
        except OSError as error:
            raise StepFailed("remove cgroup", f"{error.strerror} ({error.filename})") from error
