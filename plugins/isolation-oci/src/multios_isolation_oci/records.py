"""What the driver must remember of a container beyond its own life: a small file each."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from multios.errors import InvalidInput, NotFound


@dataclass(frozen=True, slots=True)
class Record:
    """The cgroup's path below every hierarchy's top, and the first process."""

    cgroup: str
    pid: int = 0


class Files:
    """The files of one container in ``directory``."""

    def __init__(self, directory: Path, container_id: str) -> None:
        if not container_id.replace("-", "").replace("_", "").isalnum() or len(container_id) > 128:
            raise InvalidInput(f"bad container id {container_id[:40]!r}")
        self._id = container_id
        self.record = directory / f"{container_id}.json"
        self.pid = directory / f"{container_id}.pid"
        self.log = directory / f"{container_id}.log"

    def write(self, record: Record) -> None:
        """Whole or not at all."""
        temporary = self.record.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(record)))
        os.replace(temporary, self.record)

    def read(self) -> Record:
        """``NotFound`` if there is none."""
        try:
            return Record(**json.loads(self.record.read_bytes()))
        except FileNotFoundError:
            raise NotFound(f"isolation driver oci has no container {self._id}") from None

    def remove(self) -> None:
        """Absent: no error."""
        for path in (self.record, self.pid, self.log):
            path.unlink(missing_ok=True)
