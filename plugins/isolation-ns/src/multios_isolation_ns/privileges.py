"""What a process gives up before exec: limits, ids, capabilities, system calls (credentials(7), capabilities(7))."""

from __future__ import annotations

import binascii
import errno
import os

from multios.supervisor import flags, listening
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


_CAPABILITIES = range(_last_capability() + 1)


def become_root(alone: bool) -> None:
    """Take on id 0 of the user namespace; a child cloned into one has ids that its map does not know.

    The change makes the process "not dumpable", and its files in /proc foreign. While it is ``alone`` in its
    PID namespace that is undone until :func:`hide`.
    """
    if os.getuid() != 0 or os.getgid() != 0:
        _set_groups([])
        kernel.setresgid(0, 0, 0)
        kernel.setresuid(0, 0, 0)
        if alone:
            kernel.prctl(flags.PR_SET_DUMPABLE, 1)


def _set_groups(groups: list[int], own: int = 0) -> None:
    """Where the namespace may not set groups (a single id, user_namespaces(7)) they stay those of its maker.

    ``own`` is the main group, which is nothing to ask for besides.
    """
    try:
        kernel.setgroups(groups)
    except PermissionError:
        if set(groups) - {own} or not _groups_are_denied():
            raise


def _groups_are_denied() -> bool:
    with open("/proc/self/setgroups", encoding="ascii") as file:
        return file.read().strip() == "deny"


def hide() -> None:
    """Until exec nobody inside may trace us or open what we have open (prctl(2), PR_SET_DUMPABLE)."""
    kernel.prctl(flags.PR_SET_DUMPABLE, 0)


def set_oom_score(score: int | None) -> None:
    """How eagerly the kernel kills this process when memory is short; proc_pid_oom_score_adj(5)."""
    if score is None:
        return
    descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(score).encode())
    finally:
        os.close(descriptor)


def new_keyring() -> None:
    """A session keyring of its own; without the key facility in the kernel there is nothing to part from."""
    try:
        kernel.keyctl_join_session()
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise


def set_limits(process: dict[str, Any]) -> None:
    """Resource limits; the driver has already brought them below what the host permits."""
    for number, soft, hard in process["rlimits"]:
        kernel.prlimit(0, number, (soft, hard))


def limit_bounding_set(process: dict[str, Any]) -> None:
    """Drop from the bounding set what no program may ever gain, and keep the rest over the change of ids."""
    bounding = process["capabilities"]["bounding"]
    for number in _CAPABILITIES:
        if not bounding >> number & 1:
            kernel.prctl(flags.PR_CAPBSET_DROP, number)
    kernel.prctl(flags.PR_SET_KEEPCAPS, 1)


def set_ids(process: dict[str, Any]) -> None:
    """Supplementary groups, group, user: in this order, because the last takes away the right to the others."""
    user = process["user"]
    _set_groups(user["groups"], user["gid"])
    kernel.setresgid(user["gid"], user["gid"], user["gid"])
    kernel.setresuid(user["uid"], user["uid"], user["uid"])


def set_capabilities(process: dict[str, Any]) -> None:
    """The thread's capability sets and the ambient one."""
    sets = process["capabilities"]
    kernel.capset(sets["effective"], sets["permitted"], sets["inheritable"])
    kernel.prctl(flags.PR_CAP_AMBIENT, flags.PR_CAP_AMBIENT_CLEAR_ALL)
    for number in _CAPABILITIES:
        if sets["ambient"] >> number & 1:
            kernel.prctl(flags.PR_CAP_AMBIENT, flags.PR_CAP_AMBIENT_RAISE, number)


def forbid_new_privileges(process: dict[str, Any]) -> None:
    """Set-user-ID programs and file capabilities gain nothing from here on."""
    if process["no_new_privileges"]:
        kernel.prctl(flags.PR_SET_NO_NEW_PRIVS, 1)


def install_filter(process: dict[str, Any]) -> None:
    """The system call filter; it needs no_new_privs or CAP_SYS_ADMIN."""
    if process["seccomp"] and process["watched"]:
        listening.install(binascii.a2b_base64(process["seccomp"]), process["seccomp_flags"])
    elif process["seccomp"]:
        kernel.seccomp_filter(binascii.a2b_base64(process["seccomp"]), process["seccomp_flags"])
