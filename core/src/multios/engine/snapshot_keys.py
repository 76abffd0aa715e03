"""What the storage driver knows a container's snapshots by: its root filesystem is its id, what belongs to it begins so."""

from __future__ import annotations

from multios.model.container import Container


def snapshot_key(container: Container, name: str) -> str:
    """The key of a kept state."""
    return f"{container.id}.snapshot.{name}"


def snapshot_keys(container: Container) -> list[str]:
    """The keys of all its kept states."""
    return [snapshot_key(container, name) for name in container.snapshots]


def spare_key(container: Container) -> str:
    """The key of what takes the root filesystem's place in a reset, then of what was there before."""
    return f"{container.id}.reset"


def kept_keys(container: Container) -> list[str]:
    """Every key that a container may have beside its root filesystem's."""
    return [spare_key(container), *snapshot_keys(container)]
