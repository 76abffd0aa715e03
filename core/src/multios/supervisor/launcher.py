"""The contract between the supervisor and the module that makes a process inside a container.

An isolation driver names its launcher module in ``IsolationDriver.launcher``. The supervisor imports it at
its own start, and runs it in the cloned child: the supervisor clones, joins cgroups and writes id maps; the
launcher does the rest. Everything it needs is imported when the module is: after pivot_root(2) there is
nothing left to import.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself is too heavy for the supervisor
if TYPE_CHECKING:
    from typing import Any, NoReturn, Protocol
else:
    Protocol = object


class LaunchError(Exception):
    """A step in the child failed: ``step`` names it, ``errno`` is the kernel's answer, ``detail`` says on what.

    ``status`` is 126 or 127 when exec itself failed, else 125.
    """

    def __init__(self, step: str, errno: int, detail: str = "", status: int = 125) -> None:
        super().__init__(step, errno, detail, status)
        self.step, self.errno, self.detail, self.status = step, errno, detail, status


class Launcher(Protocol):
    """What a launcher module offers, as module-level functions. All run in the child, single-threaded.

    ``plan`` is the driver's own JSON value; ``descriptors`` are those it passed along, in order. Standard
    streams are in place (0, 1, 2); a terminal, which is best the container's own, replaces /dev/null as the
    controlling one between ``create`` or ``enter`` and ``execute``. A launcher whose terminal is another's to make has
    a function ``take_terminal(spare) -> list`` besides: it closes ``spare`` (a pair, or nothing where no terminal is
    wanted) and returns a list of the master, non-blocking, or an empty one. A launcher that does not exec but stays
    (as the parent of what a runtime left behind) closes all descriptors above 2 in ``execute``: that is the sign of
    success, and its exit status is the container's. Failures raise :class:`LaunchError` or
    :class:`OSError`.
    """

    def create(self, plan: dict[str, Any], descriptors: list[int]) -> None:
        """First process: mounts, pivot_root, hostname, rlimits … everything that can be done before *start*."""

    def enter(self, plan: dict[str, Any], descriptors: list[int]) -> None:
        """A process of exec: already inside the container's namespaces and cgroups; the rest short of exec."""

    def execute(self, plan: dict[str, Any]) -> NoReturn:
        """Drop privileges, install the filter, exec. Does not return; descriptors above 2 are close-on-exec."""
