"""One face over cgroup v1, v2 and hybrid hosts (kernel: admin-guide/cgroup-v1, admin-guide/cgroup-v2).

``hierarchy`` is imported by the supervisor, which has no use for more; so the rest is imported on use.
"""

from __future__ import annotations

from multios.cgroups.hierarchy import Hierarchy
from multios.supervisor import id_map

TYPE_CHECKING = False  # typing itself is too heavy for the supervisor
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from multios.model.container import Counters, Resources, Stats


class Cgroups:
    """The daemon's cgroups. A group's name is one path component; making and joining are the supervisor's.

    ``data_root`` lies on the disk that ``io_limit`` is set on; ``parent`` and ``root`` as in
    :meth:`Hierarchy.find`. Methods may be called from several threads.
    """

    def __init__(self, data_root: str = "/", parent: str = "", root: str = "") -> None:
        self.data_root = str(data_root)
        self.hierarchy = Hierarchy.find(parent, root)

    @property
    def mode(self) -> str:
        """``v1``, ``v2``, ``hybrid`` or ``none``."""
        return self.hierarchy.mode

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers that limits can be set with."""
        return self.hierarchy.controllers

    def create(self, name: str) -> None:
        """Make a group; one that exists raises ``Conflict``, a host that refuses ``StepFailed``."""
        from multios.errors import Conflict, StepFailed

        try:
            self.hierarchy.create(name)
        except FileExistsError:
            raise Conflict(f"cgroup {name!r} exists") from None
        except OSError as error:
            raise StepFailed("create cgroup", f"{error.strerror} ({error.filename})") from error

    def limit(self, name: str, resources: Resources) -> None:
        """Write limits, at create and on update; see :func:`multios.cgroups.limits.apply`."""
        from multios.cgroups import limits

        limits.apply(self.hierarchy, name, resources, self.data_root)

    def allow_devices(self, name: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Set the device rules of an OCI spec's ``linux.resources.devices``; once a group.

        In a user namespace there is nothing to set, nor a right to: no device node can be made there, so there are
        those only that were mounted for the container.
        """
        from multios.cgroups import devices

        if not id_map.is_initial():
            return
        devices.apply(self.hierarchy, name, rules)

    def stats(self, name: str) -> Stats:
        """One reading."""
        from multios.cgroups import usage

        return usage.stats(self.hierarchy, name)

    def counters(self, name: str) -> Counters:
        """What has been counted since the group was made; all ``None`` when it is gone."""
        from multios.cgroups import usage

        return usage.counters(self.hierarchy, name)

    def freeze(self, name: str) -> None:
        """Stop all processes; returns when they stand still."""
        from multios.cgroups import freezer

        freezer.freeze(self.hierarchy, name)

    def thaw(self, name: str) -> None:
        """Let them run on."""
        from multios.cgroups import freezer

        freezer.thaw(self.hierarchy, name)

    def frozen(self, name: str) -> bool:
        """Whether the group stands still."""
        from multios.cgroups import freezer

        return freezer.frozen(self.hierarchy, name)

    def processes(self, name: str) -> list[int]:
        """Host pids of the group and of those below it."""
        return self.hierarchy.processes(name)

    def kill(self, name: str) -> None:
        """SIGKILL all of them; none is no error."""
        self.hierarchy.kill(name)

    def remove(self, name: str) -> None:
        """Remove the group; absent is no error, living processes raise ``StepFailed``."""
        from multios.errors import StepFailed

        try:
            self.hierarchy.remove(name)
        except OSError as error:
            raise StepFailed("remove cgroup", f"{error.strerror} ({error.filename})") from error

    def names(self) -> list[str]:
        """All groups below our parent."""
        return self.hierarchy.names()
