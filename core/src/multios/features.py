"""What this kernel can do, asked once, in about a millisecond, leaving nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from multios.errors import Unsupported
from multios.supervisor import id_map
from multios.supervisor.syscalls import kernel

_NETLINK_NETFILTER = 12
_NFT_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN (linux/netfilter/nf_tables.h)
_NFT_NEW_GENERATION = 10 << 8 | 15
_NLM_F_REQUEST = 1
_CAP_SYS_RESOURCE = 24


@cache
def kernel_version() -> tuple[int, int]:
    """Major and minor of the running kernel."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def is_host_root() -> bool:
    """Whether we are root on the host, and not of a user namespace only."""
    return os.geteuid() == 0 and id_map.is_initial()


@cache
def _probed() -> tuple[tuple[str, bool], ...]:
    return tuple((name, bool(ask())) for name, (ask, _) in FEATURES.items())


def probe() -> dict[str, bool]:
    """Each feature by name; :data:`FEATURES` says what its absence costs."""
    return dict(_probed())


def cost(name: str) -> str:
    """What is lost where the feature is absent."""
    return FEATURES[name][1]


def require() -> None:
    """Raise ``Unsupported`` on a kernel that lacks what has no other way: descriptors of processes and of mounts."""
    needed = ("pidfd_open", "open_tree", "move_mount")
    missing = [name for name in needed if not kernel.has(name)]
    if missing:
        raise Unsupported(
            f"this kernel ({os.uname().release}) lacks {', '.join(missing)}", "boot Linux 5.3 or later"
        )


def _filesystem(name: str) -> bool:
    """Whether the kernel has a filesystem; asking with the new mount API loads its module."""
    if any(line.split()[-1] == name for line in _text("/proc/filesystems").splitlines() if line):
        return True
    with contextlib.suppress(OSError):
        os.close(kernel.fsopen(name))
        return True
    return False


def _overlay_on_idmapped() -> bool:
    # Since 5.19; trying it takes a process in a user namespace, and whoever makes the mount says when it fails.
    return kernel.has("mount_setattr") and kernel_version() >= (5, 19) and _filesystem("overlay")


def _nftables() -> bool:
    """Ask nf_tables for its generation over netlink; the kernel loads the module for root."""
    message = struct.pack("=IHHIIBBH", 20, _NFT_GET_GENERATION, _NLM_F_REQUEST, 1, 0, 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as connection:
            connection.settimeout(1.0)
            connection.sendto(message, (0, 0))
            answer = connection.recv(4096)
    except OSError:
        return False
    return len(answer) >= 16 and struct.unpack_from("=IH", answer)[1] == _NFT_NEW_GENERATION


def _seccomp() -> bool:
    return "errno" in _text("/proc/sys/kernel/seccomp/actions_avail").split()


def _user_namespace() -> bool:
    return _namespace("user") and _text("/proc/sys/user/max_user_namespaces").strip() not in ("", "0")


def _capability(number: int) -> bool:
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", _text("/proc/self/status"), re.MULTILINE)
    return bool(match and int(match[1], 16) >> number & 1)


def _cgroup(kind: str) -> bool:
    mounts = [line.partition(" - ")[2].split(" ") for line in _text("/proc/self/mountinfo").splitlines()]
    return any(fields[0] == kind for fields in mounts)


def _namespace(name: str) -> bool:
    return os.path.exists(f"/proc/self/ns/{name}")


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


FEATURES: dict[str, tuple[Callable[[], bool], str]] = {
    "pidfd": (lambda: kernel.has("pidfd_open"), "the daemon does not start"),
    "pidfd_exit_status": (
        lambda: kernel_version() >= (6, 15),
        "an exit while daemon and supervisor were both dead is recorded as unknown",
    ),
    "clone3": (lambda: kernel.has("clone3"), "containers start a little slower"),
    "new_mount_api": (
        lambda: kernel.has("open_tree") and kernel.has("move_mount"),
        "the daemon does not start",
    ),
    "idmapped_mounts": (
        lambda: kernel.has("mount_setattr"),
        "no user namespace of its own for a container, unless [security] user_namespace_fallback allows the host's",
    ),
    "overlay": (
        lambda: _filesystem("overlay"),
        "the overlay storage driver does not work; vfs copies instead",
    ),
    "idmapped_overlay": (
        _overlay_on_idmapped,
        "no user namespace of its own for a container on overlay; use vfs or [security] user_namespace_fallback",
    ),
    "cgroup_v1": (lambda: _cgroup("cgroup"), "nothing, where there is cgroup_v2"),
    "cgroup_v2": (
        lambda: _cgroup("cgroup2"),
        "children join their cgroup after they are made, a little slower",
    ),
    "user_namespace": (_user_namespace, "root in a container is root on the host"),
    "time_namespace": (
        lambda: _namespace("time") and kernel.has("clone3"),
        "containers share the host's boot time",
    ),
    "cgroup_namespace": (lambda: _namespace("cgroup"), "containers see the host's cgroup paths"),
    "seccomp": (_seccomp, "system calls cannot be filtered"),
    "apparmor": (
        lambda: _text("/sys/module/apparmor/parameters/enabled").strip() == "Y",
        "no AppArmor profile can be enforced",
    ),
    "landlock": (lambda: kernel.has("landlock_create_ruleset"), "nothing that containers need"),
    "nftables": (_nftables, "no NAT and no published ports with the bridge network"),
    "cap_sys_resource": (
        lambda: _capability(_CAP_SYS_RESOURCE),
        "rlimits above the daemon's own are clamped",
    ),
}
"""Name to how it is asked and what its absence costs."""
