"""Storage driver ``overlay``: snapshots are directories of changes, stacked by overlayfs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from multios.drivers.base import Capability, DriverContext
from multios.layers.copying import copy_tree
from multios.layers.snapshot_driver import DirectorySnapshots, copy_directories, make_root
from multios.model.mount import Mount
from multios.supervisor import id_map

if TYPE_CHECKING:
    from multios.model.health import HealthCheck


class OverlayStorage(DirectorySnapshots):
    """Kernel: filesystems/overlayfs. ``fs`` and ``work`` stand side by side, as an idmapped upper layer needs."""

    name: ClassVar[str] = "overlay"
    summary: ClassVar[str] = "snapshots stacked by overlayfs; the default"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.DIFF, Capability.USER_NAMESPACE, Capability.QUOTA, Capability.EXCHANGE}
    )

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        self._switches = switches(os.uname().release)
        if not id_map.is_initial():
            self._switches += ("userxattr",)  # of trusted.* only the host's root may make use

    def fill(self, directory: str, parent: str) -> None:
        """See :class:`DirectorySnapshots`: two directories."""
        make_root(f"{directory}/fs", self.files(self.store.get(parent)) if parent else "")
        os.mkdir(f"{directory}/work", 0o700)

    def fill_like(self, directory: str, parent: str, files: str, only: Sequence[str]) -> None:
        """See :class:`DirectorySnapshots`: the upper directory holds the changes alone."""
        self.fill(directory, parent)
        if only:
            copy_directories(files, f"{directory}/fs", only)
        else:
            copy_tree(os.fsencode(files), os.fsencode(f"{directory}/fs"), marks=True)

    def view(self, key: str, parent: str) -> tuple[Mount, ...]:
        """See :class:`StorageDriver`: a record only."""
        self.store.get(parent)
        with self.store.making(key, parent, "view", with_directory=False):
            pass
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """See :class:`StorageDriver`: an overlay, or a bind mount where there is only one layer."""
        record = self.store.get(key)
        layers = [self.files(layer) for layer in self.store.ancestors(record.parent)]
        if record.kind == "committed":
            layers.insert(0, self.files(record))
        if record.kind == "active":
            backing = self.backing(record)
            own = "" if backing else f"{self.store.directory(record)}/"
            if not layers:
                return (Mount("bind", f"{own}fs", ("rw",), backing),)
            upper = (f"upperdir={own}fs", f"workdir={own}work")
            # Layers of two filesystems: without xino a file's st_dev would tell them apart (filesystems/overlayfs).
            words = (*self._switches, "xino=on") if backing else self._switches
            return (Mount("overlay", "overlay", (_lower(layers), *upper, *words), backing),)
        if len(layers) == 1:
            return (Mount("bind", layers[0], ("ro",)),)
        return (Mount("overlay", "overlay", ("ro", _lower(layers), *self._switches)),)

    def diff(self, key: str, target: BinaryIO, latest: float | None = None) -> None:
        """See :class:`StorageDriver`: the upper directory, with overlay's marks in OCI's words."""
        from multios_storage_overlay.diff import pack_upper  # deferred: only commits need it

        record = self.store.get(key)
        below = self.files(self.store.get(record.parent)) if record.parent else ""
        if not record.id:
            pack_upper("", below, target, latest)
            return
        with self.reached(record) as own:
            pack_upper(own, below, target, latest)

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """Overlayfs in the kernel, a data root that can be an upper layer, idmapped mounts."""
        from multios_storage_overlay.health import checks

        return checks()


def switches(release: str) -> tuple[str, ...]:
    """Mount options that keep features off whose marks are no part of an OCI layer, as far as this kernel knows them."""
    numbers = [int(part) if part.isdigit() else 0 for part in release.split("-")[0].split(".")[:2]]
    version = (numbers[0], numbers[1] if len(numbers) > 1 else 0)
    words = [((4, 13), "index=off"), ((4, 15), "redirect_dir=nofollow"), ((4, 19), "metacopy=off")]
    return tuple(word for since, word in words if version >= since)


def _lower(layers: list[str]) -> str:
    """``lowerdir=`` with the topmost first; backslash and colon are escaped in paths."""
    return "lowerdir=" + ":".join(path.replace("\\", "\\\\").replace(":", "\\:") for path in layers)
