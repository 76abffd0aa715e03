"""Mandatory access control of the process to be: AppArmor (apparmor(7)) and Landlock (landlock(7))."""

from __future__ import annotations

import errno
import os
import stat

from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROC_MAGIC = 0x9FA0
_ATTRIBUTES = ("/proc/self/attr/apparmor/exec", "/proc/self/attr/exec")
"""The first since Linux 5.8, where several security modules may be stacked; proc_pid_attr(5)."""
_OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
"""LANDLOCK_ACCESS_FS_EXECUTE, WRITE_FILE, READ_FILE, TRUNCATE and IOCTL_DEV; the others are a directory's."""


def choose_profile(process: dict[str, Any]) -> None:
    """The AppArmor profile that takes hold at the next exec(2).

    An image's own files must not be taken for procfs: what is written to them would confine nobody (CVE-2019-16884).
    """
    name = process["apparmor"]
    if not name:
        return
    descriptor = _open_attribute()
    try:
        if kernel.filesystem_type(descriptor) != _PROC_MAGIC:
            raise OSError(errno.EPERM, "what is mounted there is no procfs", "/proc")
        os.write(descriptor, b"exec " + os.fsencode(name))
    finally:
        os.close(descriptor)


def _open_attribute() -> int:
    try:
        return os.open(_ATTRIBUTES[0], os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(_ATTRIBUTES[1], os.O_WRONLY | os.O_CLOEXEC)


def make_ruleset(process: dict[str, Any]) -> None:
    """The ruleset, while we are root and may look everything up; its descriptor is kept in the plan.

    What is not there needs no rule: nothing is allowed that no rule names.
    """
    rules = process["landlock"]
    if not rules:
        return
    ruleset = kernel.landlock_create_ruleset(rules["fs"], rules["net"], rules["scope"])
    for path, rights in rules["paths"]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                rights &= _OF_FILES
            if rights:
                kernel.landlock_allow_beneath(ruleset, place, rights)
        finally:
            os.close(place)
    for port, rights in rules["ports"]:
        kernel.landlock_allow_port(ruleset, port, rights)
    process["ruleset"] = ruleset


def enforce_ruleset(process: dict[str, Any]) -> None:
    """From here on; it needs no_new_privs or CAP_SYS_ADMIN."""
    if "ruleset" in process:
        ruleset = process.pop("ruleset")
        kernel.landlock_restrict_self(ruleset)
        os.close(ruleset)
