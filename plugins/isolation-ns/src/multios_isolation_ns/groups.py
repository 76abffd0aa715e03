"""Which cgroup a container is in."""

from __future__ import annotations

import os

from multios.cgroups import Cgroups
from multios.cgroups.hierarchy import Hierarchy
from multios_isolation_ns.no_cgroup import NoCgroup
from multios_isolation_ns.records import Record


class Group:
    """A group's name, and the face to call with it."""

    __slots__ = ("cgroups", "name")

    def __init__(self, cgroups: Cgroups | NoCgroup, name: str) -> None:
        self.cgroups, self.name = cgroups, name


class Groups:
    """Faces by parent group: the supervisor chooses the parent and says so with every reservation."""

    def __init__(self, data_root: str) -> None:
        self._data_root = data_root
        self._by_parent: dict[str, Cgroups] = {}

    def of(self, parent: str) -> Cgroups:
        """The face whose groups lie below ``parent`` (empty: the default one)."""
        if parent not in self._by_parent:
            self._by_parent[parent] = Cgroups(self._data_root, parent)
        return self._by_parent[parent]

    def group(self, record: Record) -> Group:
        """The group of a container, such as ``multios/slot``, or what stands in for one."""
        if not record.cgroup:
            return Group(NoCgroup(record.pid, record.started), "")
        return Group(self.of(os.path.dirname(record.cgroup)), os.path.basename(record.cgroup))


def v1_hierarchies(hierarchy: Hierarchy) -> list[str]:
    """The controllers of each cgroup v1 hierarchy, joined by commas; none on a v2 host."""
    together: dict[str, list[str]] = {}
    for name, directory in hierarchy.v1.items():
        if "=" not in name:
            together.setdefault(directory, []).append(name)
    return [",".join(names) for names in together.values()]
