"""Named volumes, and their filling when they are new."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from multios.engine import volume_filling
from multios.engine.caller import Caller
from multios.engine.locks import KeyedLocks
from multios.engine.registry import choose_own
from multios.engine.steps import Steps
from multios.errors import Conflict, NotFound, StepFailed, unknown
from multios.model.container import Container, Volume
from multios.model.container_names import check_name
from multios.model.volume import NamedVolume
from multios.store.database import Database

log = logging.getLogger(__name__)
DATA = "_data"


class Volumes:
    """Volumes below ``directory`` and their rows. ``users_of`` gives the names of the containers that use one.

    ``check_one_more("volumes", owner, owners of all)`` raises where a quota is full.
    """

    def __init__(
        self,
        database: Database,
        directory: Path,
        users_of: Callable[[NamedVolume], list[str]],
        check_one_more: Callable[[str, int, list[int]], None],
    ) -> None:
        self._database = database
        self._directory = directory
        self._users_of = users_of
        self._check_one_more = check_one_more
        self._lock = threading.Lock()
        self._volumes = {(volume.owner, volume.name): volume for volume in database.all(NamedVolume)}
        self._filling = KeyedLocks()
        for volume in list(self._volumes.values()):
            former = directory / volume.name  # until 0.1 a name was everyone's
            if former.exists() and not self._path(volume).parent.exists():
                former.rename(self._path(volume).parent)
            self._go_on_filling(volume)

    def create(self, name: str, caller: Caller, labels: Mapping[str, str]) -> dict[str, Any]:
        """Make a volume; a name in use raises ``Conflict``."""
        check_name("volume", name)
        with self._lock:
            if (caller.uid, name) in self._volumes:
                raise Conflict(f"the volume name {name!r} is in use", "choose another name")
            return self._row(self._make(name, caller, labels))

    def ensure(self, name: str, caller: Caller) -> Path:
        """The data directory of the caller's own volume, made if it is absent."""
        return self._path(self._ensured(name, caller))

    def fresh(self, container: Container) -> list[Volume]:
        """The mounts of a container whose volumes may have to be filled; a volume that is absent is made."""
        owner = Caller(container.owner, container.owner)
        mounts = (mount for mount in container.config.volumes if mount.kind == "volume" and not mount.nocopy)
        return [mount for mount in mounts if self._ensured(mount.source, owner).fresh]

    def fill(self, mounts: list[Volume], owner: int, root: int, wanted: Callable[[], bool]) -> None:
        """Give the volumes among ``mounts`` that are still new what the root filesystem ``root`` has at their places.

        ``root`` is a descriptor. Of several who want to fill one, the first does, and the others wait for it.
        """

        def check() -> None:
            if not wanted():
                raise StepFailed("fill volumes", "nobody waits for the container any more", "start it again")

        for mount in mounts:
            volume = self._ensured(mount.source, Caller(owner, owner))
            with self._filling.holding(volume.id, check):
                volume = self._volumes.get((owner, mount.source), volume)
                if volume.fresh and volume_filling.fill(self._path(volume), root, mount.target, check):
                    self._settle(volume)

    def _settle(self, volume: NamedVolume) -> None:
        settled = replace(volume, fresh=False)
        self._database.save(settled)
        with self._lock:
            self._volumes[volume.owner, volume.name] = settled
        volume_filling.clear(self._path(volume))

    def _go_on_filling(self, volume: NamedVolume) -> None:
        """What the end of the last daemon cut short."""
        try:
            if not volume.fresh:
                volume_filling.clear(self._path(volume))
            elif volume_filling.go_on(self._path(volume)):
                self._settle(volume)
        except Exception:  # tried again by the next start that mounts it
            log.exception("volume %s is not filled to the end", volume.name)

    def owners(self) -> list[int]:
        """The owner of every volume."""
        return [volume.owner for volume in list(self._volumes.values())]

    def rows(self, caller: Caller) -> list[dict[str, Any]]:
        """Every volume that the caller may see."""
        volumes = list(self._volumes.values())
        return [self._row(volume) for volume in volumes if caller.may_see(volume.owner)]

    def inspect(self, name: str, caller: Caller) -> dict[str, Any]:
        """One volume's row."""
        return self._row(self._find(name, caller))

    def remove(self, name: str, caller: Caller) -> None:
        """Remove a volume and its data; one in use raises ``Conflict``."""
        with self._lock:
            volume = self._find(name, caller)
            users = self._users_of(volume)
            if users:
                raise Conflict(
                    f"volume {name!r} is used by {', '.join(users)}", "delete these containers first"
                )
            self._database.delete(NamedVolume, volume.id)
            del self._volumes[volume.owner, volume.name]
            shutil.rmtree(self._path(volume).parent, ignore_errors=True)

    def prune(self, caller: Caller) -> list[str]:
        """Remove every volume of the caller that no container uses; their names."""
        removed = []
        for row in self.rows(caller):
            if not row["containers"]:
                try:
                    self.remove(row["id"], caller)
                except (Conflict, NotFound):
                    continue  # taken into use, or removed, since it was listed
                removed.append(row["name"])
        return removed

    def _ensured(self, name: str, caller: Caller) -> NamedVolume:
        with self._lock:
            return self._volumes.get((caller.uid, name)) or self._make(name, caller, {})

    def _make(self, name: str, caller: Caller, labels: Mapping[str, str]) -> NamedVolume:
        self._check_one_more("volumes", caller.uid, self.owners())
        volume = NamedVolume(os.urandom(16).hex(), name, caller.uid, time.time(), dict(labels), fresh=True)
        top = self._path(volume).parent
        if top.exists():  # a removal that a crash cut short: its data is nobody's any more
            shutil.rmtree(top)
        with Steps() as steps:
            steps.do(
                "make directory",
                lambda: self._make_directory(volume),
                lambda: shutil.rmtree(top, ignore_errors=True),
            )
            steps.do("record", lambda: self._database.save(volume))
        self._volumes[volume.owner, name] = volume
        return volume

    def _make_directory(self, volume: NamedVolume) -> None:
        self._path(volume).parent.mkdir(mode=0o700)
        self._path(volume).mkdir()

    def _find(self, name: str, caller: Caller) -> NamedVolume:
        """The caller's own of that name; to an administrator else the only user's."""
        visible = [volume for volume in self._volumes.values() if caller.may_see(volume.owner)]
        called = [volume for volume in visible if name in (volume.name, volume.id)]
        if volume := choose_own(called, caller):
            return volume
        if called:
            raise Conflict(f"{len(called)} users have a volume {name!r}", "name it by its id")
        names = [volume.name for volume in visible]
        raise unknown("volume", name, names, "see `multios-container volume ls`")

    def _path(self, volume: NamedVolume) -> Path:
        is_administrators = Caller(volume.owner, volume.owner).is_administrator
        return (
            self._directory / (volume.name if is_administrators else f"{volume.owner}@{volume.name}") / DATA
        )

    def _row(self, volume: NamedVolume) -> dict[str, Any]:
        return {
            "id": volume.id,
            "name": volume.name,
            "path": str(self._path(volume)),
            "created": volume.created,
            "labels": dict(volume.labels),
            "containers": self._users_of(volume),
            "owner": volume.owner,
        }
