"""The names of capabilities: capabilities(7)."""

from __future__ import annotations

from multios.errors import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.compose.field import Field

NAMES = tuple(
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "  # noqa: SIM905
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
    "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
    "CHECKPOINT_RESTORE".split()
)


def checked(field: Field) -> str:
    """The name without ``CAP_``."""
    name = field.text().upper().removeprefix("CAP_")
    if name != "ALL" and name not in NAMES:
        guess = nearest(name, list(NAMES))
        raise field.error(
            f"there is no capability {field.text()[:40]!r}",
            f"did you mean {guess!r}?" if guess else "see capabilities(7)",
        )
    return name
