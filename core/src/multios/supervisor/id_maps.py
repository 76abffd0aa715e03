"""User namespaces that are nobody's: made only for their id maps, which idmapped mounts use (mount_setattr(2)).

A namespace needs a process to be born and to have its maps written; it lives on in its descriptor alone.
"""

from __future__ import annotations

import os

from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Line = tuple[int, int, int]
"""An id on disk, its id on the host, and how many follow (user_namespaces(7))."""

MOST_LINES = 340


def make(users: Iterable[Line], groups: Iterable[Line]) -> int:
    """A descriptor of a new user namespace with these maps; the caller's. Raises ``OSError``."""
    hold, held = os.pipe2(os.O_CLOEXEC)
    try:
        pid, pidfd = kernel.clone3({"user"})
        if pid == 0:
            _wait(hold, held)
    finally:
        os.close(hold)
    try:
        for name, lines in (("uid_map", users), ("gid_map", groups)):
            _write(f"/proc/{pid}/{name}", lines)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        kernel.pidfd_send_signal(pidfd, 9)
        os.close(pidfd)
        os.close(held)
        os.waitpid(pid, 0)


def lines(maps: Iterable[Iterable[object]]) -> list[Line]:
    """Checked lines of a map; ``ValueError`` for what the kernel would not take."""
    found = []
    for entry in maps:
        inside, outside, size = (int(str(number)) for number in entry)
        if min(inside, outside) < 0 or size < 1 or max(inside, outside) + size > flags.LARGEST_ID:
            raise ValueError(f"bad id map {inside} {outside} {size}")
        found.append((inside, outside, size))
    if not 0 < len(found) <= MOST_LINES:
        raise ValueError(f"an id map of {len(found)} lines")
    return found


def _wait(hold: int, held: int) -> None:
    """The child's whole life: until it is killed, or nobody is left to kill it."""
    try:
        os.close(held)
        os.read(hold, 1)
    finally:
        os._exit(0)


def _write(path: str, lines: Iterable[Line]) -> None:
    text = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in lines)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
