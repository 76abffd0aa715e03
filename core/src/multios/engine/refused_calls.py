"""A refused system call in words: what was tried, what refused it, and which option would allow it."""

from __future__ import annotations

import errno
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from multios.drivers.isolation import RefusedCall
from multios.model.container import Container

_NAMESPACES = (
    (0x80, "time"),
    (0x20000, "mount"),
    (0x2000000, "cgroup"),
    (0x4000000, "uts"),
    (0x8000000, "ipc"),
    (0x10000000, "user"),
    (0x20000000, "pid"),
    (0x40000000, "network"),
)
"""CLONE_NEW* of clone(2)."""
_FAMILIES = {2: "AF_INET", 10: "AF_INET6", 17: "AF_PACKET", 38: "AF_ALG", 40: "AF_VSOCK", 44: "AF_XDP"}
_TYPES = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW"}
_WORDS = {
    "reboot": "reboot or halt the machine",
    "init_module": "load a kernel module",
    "finit_module": "load a kernel module",
    "delete_module": "remove a kernel module",
    "clock_settime": "set the clock",
    "settimeofday": "set the clock",
    "syslog": "read the kernel's log",
    "bpf": "load a BPF program",
    "ptrace": "trace a process",
}
_RLIMITS = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
ADMINISTRATORS = "(administrators)"


@dataclass(frozen=True, slots=True)
class Reason:
    """``kind`` is capability, seccomp, user-namespace, read-only, limit, network; ``remedy`` the option."""

    kind: str
    words: str
    remedy: str


def tried(call: RefusedCall) -> str:
    """The call as one would write it; ``mount("/mnt", ext4)``."""
    texts, arguments = call.texts, call.arguments
    if call.call == "mount" and texts:
        kind = texts.get(2) or (texts.get(0, "") and f'"{texts[0]}"')
        return f'mount("{texts.get(1, "")}"{", " + kind if kind else ""})'
    if call.call in ("unshare", "clone") and arguments:
        kinds = [name for bit, name in _NAMESPACES if arguments[0] & bit]
        return f"{call.call}({', '.join(kinds)})" + (" namespace" if kinds else "")
    if call.call == "socket" and arguments:
        family, type_ = arguments[0], arguments[1] & 0xF
        return f"socket({_FAMILIES.get(family, str(family))}, {_TYPES.get(type_, str(type_))})"
    shown = ", ".join(f'"{text}"' for _, text in sorted(texts.items()) if text)
    words = f" ({_WORDS[call.call]})" if call.call in _WORDS else ""
    return f"{call.call}({shown}){words}"


def reason(
    call: RefusedCall,
    container: Container,
    guardians: Sequence[str],
    held: Sequence[str],
    usual: Sequence[str],
) -> Reason:
    """What refused it. Of capabilities, with ``CAP_``: ``guardians`` would have the profile allow the call, ``held``
    has the container, ``usual`` are those of one that asks for nothing."""
    if call.by:
        return _by_kernel(call, container, usual)
    missing = [name for name in guardians if name not in held]
    if missing and len(missing) == len(guardians):
        return _by_capability(missing[0], container, usual)
    if call.call == "socket" and call.errno == errno.EAFNOSUPPORT:
        return _by_profile(call, "this family of sockets is not in the seccomp profile")
    if call.call == "personality":
        return _by_profile(call, "this personality is not in the seccomp profile")
    if call.errno == errno.ENOSYS:
        return _by_profile(call, "not in the seccomp profile, as if the kernel had no such call")
    return _by_profile(call, "forbidden by the seccomp profile")


def _by_profile(call: RefusedCall, words: str) -> Reason:
    return Reason("seccomp", words, f"--security-opt seccomp=FILE that allows {call.call} {ADMINISTRATORS}")


def _by_capability(capability: str, container: Container, usual: Sequence[str]) -> Reason:
    name = capability.removeprefix("CAP_")
    dropped = container.config.security.drop_capabilities
    if name in dropped:
        return Reason("capability", f"no {capability}", f"leave out --cap-drop {name}")
    if "ALL" in dropped and capability in usual:
        return Reason("capability", f"no {capability}", "leave out --cap-drop ALL")
    return Reason("capability", f"no {capability}", f"--cap-add {name} {ADMINISTRATORS}")


def _by_kernel(call: RefusedCall, container: Container, usual: Sequence[str]) -> Reason:
    """What the supervisor foresaw: ``kind:detail``."""
    kind, _, detail = call.by.partition(":")
    if kind == "capability":
        return _by_capability(detail, container, usual)
    if kind == "port":
        why = _by_capability("CAP_NET_BIND_SERVICE", container, usual)
        return Reason("capability", f"port {detail} is below 1024, and {why.words}", why.remedy)
    if kind == "read-only":
        return _by_mount(detail, container)
    if kind == "rlimit":
        name = next((name for name, number in _RLIMITS.items() if str(number) == detail), detail)
        return Reason("limit", f"the hard limit {name} cannot be raised", f"--ulimit {name}=SOFT:HARD")
    if detail == "devices":
        return Reason("user-namespace", "root inside may not make devices", "use those in /dev")
    return Reason("user-namespace", f"the container has {detail} of its own", "use an id below that")


def _by_mount(place: str, container: Container) -> Reason:
    volumes = {volume.target: volume for volume in container.config.volumes}
    if place in volumes:
        return Reason("read-only", f"the volume at {place} is read-only", "leave out :ro of its --volume")
    if place == "/":
        return Reason("read-only", "read-only root", "leave out --read-only, or --tmpfs where it writes")
    if place.startswith(("/proc", "/sys")):
        return Reason("read-only", f"{place} is read-only in containers", f"--privileged {ADMINISTRATORS}")
    return Reason("read-only", f"{place} is read-only", "write elsewhere")
