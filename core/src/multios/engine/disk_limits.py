"""``--disk-limit``: asked of the storage driver at create and by ``update``, shown by ``inspect``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from multios.drivers.base import Capability
from multios.drivers.storage import StorageDriver
from multios.engine.steps import Steps
from multios.errors import Conflict, InvalidInput, MultiosError, Unsupported
from multios.filesystems.sized import SMALLEST
from multios.model.container import Container, Resources
from multios.model.quantities import format_size


def check(storage: StorageDriver, resources: Resources) -> None:
    """Raise ``Unsupported`` for a limit that cannot be kept here: wanted by the user or by the daemon's defaults."""
    if resources.disk_limit is None:
        return
    if Capability.QUOTA not in storage.capabilities:
        raise Unsupported(
            f"storage driver {storage.name!r} keeps no disk limits",
            "use another --storage, or no --disk-limit",
        )
    if resources.disk_limit < SMALLEST:
        raise InvalidInput(f"disk_limit: {resources.disk_limit} bytes are too few", "at least 1M")
    storage.limit_means()


def warnings(resources: Resources, data_root: Path) -> list[str]:
    """What a user should know of a limit that is kept, but that the host's disk may not have the space for."""
    free = shutil.disk_usage(data_root).free
    if resources.disk_limit is None or resources.disk_limit <= free:
        return []
    return [
        f"resources.disk_limit is {format_size(resources.disk_limit)}, but only {format_size(free)} are free at "
        f"{data_root}: when that disk is full, writing fails inside before the limit is reached"
    ]


def change(storage: StorageDriver, container: Container, resources: Resources, steps: Steps) -> None:
    """Give the container the limit in ``resources``, if there is one; the inverse gives back the one it had."""
    size, before = resources.disk_limit, container.config.resources.disk_limit
    if size is None or size == before:
        return
    check(storage, resources)
    if before is None:
        raise Conflict(
            f"container {container.name!r} was created without a disk limit, and none can be added",
            f"`multios-container commit {container.name} IMAGE`, and create one from IMAGE with --disk-limit",
        )
    steps.do(
        "disk limit", lambda: storage.limit(container.id, size), lambda: storage.limit(container.id, before)
    )


def shown(storage: StorageDriver, container: Container) -> dict[str, Any] | None:
    """For ``inspect``: the limit, what is in use, and what keeps it; ``None`` without one."""
    if container.config.resources.disk_limit is None:
        return None
    try:
        limit = storage.limit_of(container.id)
        usage = storage.usage(container.id)
    except MultiosError as error:
        return {"Error": error.cause}
    if limit is None:
        return None
    return {
        "Bytes": limit.size,
        "UsedBytes": usage.size,
        "Inodes": limit.inodes,
        "UsedInodes": usage.inodes,
        "EnforcedBy": limit.means,
    }
