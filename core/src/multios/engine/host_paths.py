"""Sources of bind mounts: opened with the rights of whose container it is, and mapped to ids inside.

The daemon has root's rights and must lend them to nobody. A path is therefore looked up by a thread that has the user's
ids and groups and no capabilities, so that directories, symlinks and network filesystems answer as they would answer the
user; and the very descriptor that this gives is mounted, so that nothing can be exchanged between check and use. A
start by a restart policy goes the same way: it needs no client, and the user's rights of that moment count.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from multios.engine.caller import Caller
from multios.errors import InvalidInput, Refused, Unavailable
from multios.model.container import Volume
from multios.model.mount import IdMap
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

Answer = TypeVar("Answer")
PATIENCE = 10.0
"""Seconds that a path may take: it may lie on a filesystem of the user's own making (fuse(4)) that never answers."""
_MOST_WAITING = 16
_waiting: Counter[int] = Counter()
_waiting_lock = threading.Lock()
_MOST_GROUPS = 300
"""A user namespace has at most 340 lines of a map (user_namespaces(7))."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this host, from its database: what a process of the user's would have."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str


def account_of(uid: int) -> Account:
    """The account of ``uid`` as it is now; ``Refused`` for a uid without one, whose groups nobody knows."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise Refused(
            f"user {uid} has no account on this host, so no bind mounts", "use a named volume and `cp`"
        ) from None
    return Account(uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)), entry.pw_name)


def open_source(volume: Volume, owner: Caller) -> int:
    """An O_PATH descriptor of a bind mount's source, the caller's to close.

    An administrator's is opened as the daemon. An ordinary user's must be readable for him, and writable unless the
    mount is read-only. Raises ``InvalidInput`` or ``Refused``.
    """
    try:
        if owner.is_administrator:
            return os.open(volume.source, os.O_PATH | os.O_CLOEXEC)
        account = account_of(owner.uid)
        return as_user(account, lambda: _open_checked(volume))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Refused(
                f"volumes: {volume.source!r} on the host: you may not use it", "name a path of your own"
            ) from None
        raise InvalidInput(
            f"volumes: {volume.source!r} on the host: {_reason(error)}",
            "create it first, or correct the path",
        ) from None


def as_user(account: Account, action: Callable[[], Answer]) -> Answer:
    """What ``action`` gives or raises in a thread with the user's ids and groups, and no capabilities.

    Credentials are a thread's own (credentials(7)). The real and saved ids stay root's: the user cannot signal the thread.
    """
    with _waiting_lock:
        if _waiting[account.uid] >= _MOST_WAITING:
            raise Unavailable(
                f"{_MOST_WAITING} paths of user {account.name} do not answer", "unmount what hangs"
            )
        _waiting[account.uid] += 1
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            kernel.setgroups(account.groups)
            kernel.setresgid(-1, account.gid, -1)
            kernel.setresuid(-1, account.uid, -1)  # which clears the effective capabilities
            answers.append(action())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)
        finally:
            with _waiting_lock:
                _waiting[account.uid] -= 1

    thread = threading.Thread(target=run, name="as-user", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if errors:
        raise errors[0]
    if not answers:
        raise Unavailable("a path on the host does not answer", "is it on a filesystem that hangs?")
    return answers[0]


def _open_checked(volume: Volume) -> int:
    """In the user's thread. Magic links of /proc would lead through the daemon's own descriptors."""
    descriptor = kernel.openat2(
        flags.AT_FDCWD, volume.source, os.O_PATH | os.O_CLOEXEC, flags.RESOLVE_NO_MAGICLINKS
    )
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
            raise Refused(f"volumes: {volume.source!r} is a device", "devices are for administrators")
        needed = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0) | (os.W_OK if volume.mode == "rw" else 0)
        same = f"/proc/self/fd/{descriptor}"  # of the thread's own process: what was opened, and nothing else
        for right, word in ((os.R_OK | needed & os.X_OK, "read"), (needed & os.W_OK, "write to")):
            if right and not os.access(same, right, effective_ids=True):
                raise Refused(
                    f"volumes: you may not {word} {volume.source!r} on the host",
                    "mount it read-only: add :ro" if right == os.W_OK else "name a path of your own",
                )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def id_mappings(
    owner: Caller, inside: IdMap, user: int, group: int
) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """``uidMappings`` and ``gidMappings`` of an ordinary user's bind mount (OCI runtime-spec, config.md, Mounts).

    On disk the user's own uid and primary gid are ``user`` and ``group`` inside, which is whom the container's first
    process runs as; the user's other groups have their own numbers inside,
    or one from 65533 downwards. No other id has a meaning: files of
    others cannot be written, and no capability of the container's root counts for them.
    """
    account = account_of(owner.uid)
    if not (0 <= user < inside.size and 0 <= group < inside.size):
        raise InvalidInput(
            f"user {user}:{group} has no id on the host, so no bind mounts", f"choose ids below {inside.size}"
        )
    places = {account.gid: group}
    for number in account.groups[:_MOST_GROUPS]:
        if number and number not in places:
            places[number] = _place(
                number, set(places.values()) | set(account.groups) - {number}, inside.size
            )
    return (
        [_line(account.uid, inside.start + user)],
        [_line(number, inside.start + place) for number, place in places.items()],
    )


def _place(group: int, taken: set[int], size: int) -> int:
    """A group's number inside: its own, or one from below ``nogroup`` where that is too large or taken."""
    if group < size and group not in taken:
        return group
    return next(place for place in range(size - 3, 0, -1) if place not in taken)


def _line(on_disk: int, on_host: int) -> dict[str, int]:
    return {"containerID": on_disk, "hostID": on_host, "size": 1}


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "too many symbolic links, or one of /proc's that lead elsewhere"
    return (error.strerror or str(error)).rpartition(": ")[2]
