"""Kernel parameters (sysctl(8)) that belong to a namespace of the container's own, and so touch nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterable

from multios.errors import InvalidInput, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.model.container import Networking

LONGEST_VALUE = 1000
_NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[A-Za-z0-9_-]+)+")
_OF_IPC = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)

_BEYOND = frozenset(
    (
        # With these it would answer, or send, for addresses that are others'.
        *("proxy_arp", "proxy_arp_pvlan", "proxy_ndp", "ip_nonlocal_bind"),
        # These bound memory of the kernel's that no memory limit counts.
        *("optmem_max", "ipfrag_high_thresh", "ip6frag_high_thresh", "nf_conntrack_frag6_high_thresh"),
    )
)


def reaches_beyond(name: str) -> bool:
    """Whether a parameter of the container's own lets it do to others what no namespace prevents."""
    return name.rpartition(".")[2] in _BEYOND


def check(name: str, value: str, field: str) -> None:
    """Raise ``InvalidInput`` for what is no parameter, ``Refused`` for one of the whole host's."""
    if len(name) > 255 or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{field}: {name[:80]!r} is no kernel parameter",
            "write it as net.ipv4.ip_unprivileged_port_start",
        )
    if not value.replace("\t", " ").isprintable() or not 0 < len(value) <= LONGEST_VALUE:
        raise InvalidInput(f"{field}.{name}: not one line of text", "write what `sysctl -n` shows")
    if name in ("kernel.hostname", "kernel.domainname"):
        raise Refused(f"{field}: {name} has an option of its own", "use --hostname")
    if not name.startswith(("net.", "fs.mqueue.")) and name not in _OF_IPC:
        raise Refused(
            f"{field}: {name} is the whole host's, not a container's own",
            f"a container has its own net.*, fs.mqueue.* and {', '.join(sorted(_OF_IPC))}",
        )


def check_namespaces(names: Iterable[str], networking: Networking) -> None:
    """Raise ``Refused`` for ``net.*`` where the container has no network namespace of its own."""
    name = next((name for name in names if name.startswith("net.")), None)
    if name is not None and networking.shared_with:
        raise Refused(
            f"sysctls: {name} would be that of container {networking.shared_with!r}, whose network it uses",
            "leave it out here, and set it for that container",
        )
    if name is not None and networking.networks == ("host",):
        raise Refused(
            f"sysctls: {name} would be the host's, because the container is on the host's network",
            "leave it out, or give the container another network",
        )
