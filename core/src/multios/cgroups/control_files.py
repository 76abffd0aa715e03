"""Writing the control files of one group so that all can be put back, and saying what a refusal means."""

from __future__ import annotations

import errno
import logging
import os

from multios.cgroups.hierarchy import Hierarchy, read, write
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, StepFailed, Unsupported

log = logging.getLogger(__name__)


class ControlFiles:
    """The files of group ``name``; remembers what stood in each that it writes."""

    def __init__(self, hierarchy: Hierarchy, name: str) -> None:
        self.hierarchy = hierarchy
        self.name = name
        self._before: list[tuple[str, str]] = []

    def directory(self, controller: str, option: str) -> str:
        """Where ``controller`` steers the group; ``Unsupported`` names it and ``option`` where the host has none."""
        directory = self.hierarchy.path(controller, self.name)
        if not directory:
            raise Unsupported(
                f"{option}: this host gives us no cgroup controller {controller!r}",
                "enable it (kernel parameter cgroup_enable, or delegation by systemd), or leave the limit out",
            )
        if not os.path.isdir(directory):
            raise NotFound(f"no cgroup {self.name!r} for {option}")
        return directory

    def write(self, path: str, value: str, option: str, before: str | None = None) -> None:
        """Write ``value``; ``before`` is what puts the file back, unless that is what is read from it.

        Raises ``Unsupported`` (no such file), ``InvalidInput`` (the kernel refuses the value) or ``Conflict``
        (the group uses more), each naming ``option``.
        """
        try:
            now = read(path).strip() if before is None else before
            write(path, value or "\n")
        except OSError as error:
            error.filename = path
            raise _refusal(error, value, option) from error
        self._before.append((path, now))

    def put_back(self) -> None:
        """Everything as it was before, last first; what the kernel does not take back is logged."""
        while self._before:
            path, value = self._before.pop()
            try:
                write(path, value or "\n")
            except OSError as error:
                log.error("%s could not be set back to %r: %s", path, value, error.strerror)


def _refusal(error: OSError, value: str, option: str) -> MultiosError:
    file = os.path.basename(str(error.filename))
    controller = file.partition(".")[0]
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return Unsupported(f"{option}: controller {controller!r} lacks {file}", "leave the limit out")
    if error.errno in (errno.EINVAL, errno.ERANGE, errno.ENOSPC, errno.EACCES):
        return InvalidInput(
            f"{option}: the kernel's {controller!r} controller refuses {value!r} ({error.strerror})"
        )
    if error.errno == errno.EBUSY:
        return Conflict(f"{option}: the container uses more than {value} now", "stop something inside first")
    return StepFailed("limit", f"{option}: {error.strerror} ({error.filename})")
