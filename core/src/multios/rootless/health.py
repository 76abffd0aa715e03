"""What ``doctor`` says of a user's own engine: ids, and cgroups that are delegated to it."""

from __future__ import annotations

from collections.abc import Iterator

from multios.model.health import Health, HealthCheck
from multios.rootless import holder
from multios.rootless.subordinate_ids import GID_FILE, UID_FILE, of_user
from multios.supervisor import id_map

_GIVE = 'sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$USER", then multios-containerd stop'
"""The numbers are an example: a range that no other line of the files has."""


def own_engine_checks(uid: int) -> Iterator[HealthCheck]:
    """How many ids containers have here, and what is missing for more."""
    count = id_map.size()
    if count > 1:
        yield HealthCheck("subordinate ids", Health.OK, f"containers have {count} ids, root is you")
    else:
        yield _single(uid)


def _single(uid: int) -> HealthCheck:
    subject, cost = "subordinate ids", "containers have a single id, which is you: every file is root's"
    if missing := holder.mappers_missing():
        return HealthCheck(
            subject, Health.WARN, f"no {' and '.join(missing)}: {cost}", "sudo apt-get install uidmap"
        )
    lacking = [str(file) for file in (UID_FILE, GID_FILE) if not of_user(uid, file)]
    if lacking:
        return HealthCheck(subject, Health.WARN, f"none for you in {' and '.join(lacking)}: {cost}", _GIVE)
    return HealthCheck(
        subject,
        Health.WARN,
        f"not in use: {cost}",
        "start.log among the daemon's sockets says why; then multios-containerd stop, and it starts anew",
    )


def no_cgroups() -> HealthCheck:
    """Nothing that limits could be written to."""
    return HealthCheck(
        "cgroups",
        Health.SKIP,
        "none is delegated to you: limits and pause are refused, and no number of processes is enforced",
        "use a host with cgroup v2 and systemd, and log in by it: docs/how-to/rootless.md",
    )
