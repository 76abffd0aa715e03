"""A container's first process, held so that no other can be taken for it."""

from __future__ import annotations

import os
from pathlib import Path

from multios.errors import Conflict
from multios.model.container import Container


def open_process(container: Container) -> int:
    """A pidfd of the container's first process: by its cgroup, it and no other that has got its pid since."""
    ended = Conflict(f"container {container.name!r} has just ended", "try again")
    try:
        descriptor = os.pidfd_open(container.pid)
    except (OSError, ValueError):
        raise ended from None
    try:
        if container.cgroup and container.cgroup not in Path(f"/proc/{container.pid}/cgroup").read_text():
            raise ended
    except OSError:
        os.close(descriptor)
        raise ended from None
    except Conflict:
        os.close(descriptor)
        raise
    return descriptor
