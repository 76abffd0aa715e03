"""What the driver must remember of a container beyond its own life: a small file each."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from multios.errors import InvalidInput, NotFound


@dataclass(frozen=True, slots=True)
class Record:
    """The cgroup's path below every hierarchy's top, and the file and flags of the seccomp program (empty: none).

    ``landlock`` is the spec's annotation, so that processes of exec are confined as the first. Where there is no cgroup,
    ``pid`` and ``started`` (proc_pid_stat(5), starttime) find the first process.
    """

    cgroup: str
    program: str
    program_flags: int
    user_namespace: bool
    pid: int = 0
    """The first process's on the host; 0 in records of an earlier version."""
    refusals: str = ""
    """The file in which refused calls are recorded; empty: they are not watched."""
    foresee: bool = False
    landlock: str = ""
    started: int = 0


class Records:
    """Records as files of ``directory``, which nobody else writes; those in use are kept in memory too."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, Record] = {}

    def write(self, container_id: str, record: Record) -> None:
        """Whole or not at all."""
        path = self._path(container_id)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(record)))
        os.replace(temporary, path)
        self._known[container_id] = record

    def read(self, container_id: str) -> Record:
        """``NotFound`` if there is none."""
        known = self._known.get(container_id)
        if known is not None:
            return known
        try:
            record = Record(**json.loads(self._path(container_id).read_bytes()))
            self._known[container_id] = record
            return record
        except FileNotFoundError:
            raise NotFound(f"isolation driver ns has no container {container_id}") from None

    def remove(self, container_id: str) -> None:
        """Absent: no error."""
        self._known.pop(container_id, None)
        self._path(container_id).unlink(missing_ok=True)

    def _path(self, container_id: str) -> Path:
        if not container_id.replace("-", "").replace("_", "").isalnum() or len(container_id) > 128:
            raise InvalidInput(f"bad container id {container_id[:40]!r}")
        return self._directory / f"{container_id}.json"
