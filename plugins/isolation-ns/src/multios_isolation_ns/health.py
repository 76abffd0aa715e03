"""What ``doctor`` shows for this driver."""

from __future__ import annotations

import ctypes.util
import os
from collections.abc import Iterator

from multios.model.health import Health, HealthCheck

_NEEDED = ("pid", "net", "mnt", "ipc", "uts", "cgroup")


def checks() -> Iterator[HealthCheck]:
    """Quick looks; nothing is changed."""
    missing = [name for name in _NEEDED if not os.path.exists(f"/proc/self/ns/{name}")]
    if missing:
        yield HealthCheck(
            "namespaces", Health.FAIL, f"the kernel lacks {', '.join(missing)}", "use another kernel"
        )
    else:
        yield HealthCheck("namespaces", Health.OK, "all that a container needs")
    yield _user_namespaces()
    yield _seccomp()


def _user_namespaces() -> HealthCheck:
    subject = "user namespaces"
    try:
        with open("/proc/sys/user/max_user_namespaces", encoding="ascii") as file:
            most = int(file.read())
    except OSError:
        most = 0
    if most == 0:
        remedy = "set user.max_user_namespaces, or use --userns host"
        return HealthCheck(
            subject, Health.FAIL, "not available: root inside cannot be told from root outside", remedy
        )
    return HealthCheck(subject, Health.OK, f"up to {most}")


def _seccomp() -> HealthCheck:
    if not os.path.exists("/proc/sys/kernel/seccomp"):
        return HealthCheck(
            "seccomp", Health.FAIL, "the kernel has no system call filters", "use another kernel"
        )
    if not ctypes.util.find_library("seccomp"):
        return HealthCheck("seccomp", Health.FAIL, "libseccomp is missing", "apt install libseccomp2")
    return HealthCheck("seccomp", Health.OK, "filters can be built and installed")
