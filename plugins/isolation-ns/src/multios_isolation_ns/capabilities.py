"""Capability names and their numbers (capabilities(7), linux/capability.h)."""

from __future__ import annotations

from multios.errors import InvalidInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *(
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
    ),
    *(
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
    ),
    *(
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
    ),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)


def bit_set(names: Iterable[str]) -> int:
    """``CAP_CHOWN``, ``CAP_KILL`` … as a bit set; an unknown name raises ``InvalidInput``."""
    bits = 0
    for name in names:
        short = name.removeprefix("CAP_")
        if short not in NAMES:
            guess = nearest(short, list(NAMES))
            raise InvalidInput(f"unknown capability {name!r}", f"did you mean {guess}?" if guess else "")
        bits |= 1 << NAMES.index(short)
    return bits
