"""Small files that the engine gives a container: what Compose calls configs and secrets.

Each is a file of the host's in the container's directory, which only root can enter, and is mounted read-only over its
path. On disk it has its owner and mode of inside, as everything that is mounted with the container's ids.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from multios.errors import InvalidInput
from multios.model.container import ContainerConfig, GivenFile
from multios.model.mount import IdMap
from multios.supervisor import id_map

DIRECTORY = "files"


def check_mapped(files: Sequence[GivenFile], ids: IdMap | None) -> None:
    """Raise ``InvalidInput`` for an owner that the container does not have."""
    most = ids.size if ids else id_map.size()
    for number, file in enumerate(files):
        if max(file.uid, file.gid) >= most:
            raise InvalidInput(
                f"files[{number}]: there is no user or group {max(file.uid, file.gid)} in this container",
                f"it has {most} id{'s' if most > 1 else ''}, from 0 on",
            )


def write(files: Sequence[GivenFile], directory: Path) -> None:
    """Write the contents below the container's directory, which must be new."""
    (directory / DIRECTORY).mkdir(mode=0o700)
    for file, place in sources(files, directory):
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.write(base64.b64decode(file.content))
            os.fchown(descriptor, file.uid, file.gid)
            os.fchmod(descriptor, file.mode)


def recorded(config: ContainerConfig) -> ContainerConfig:
    """The request without the contents: nothing that shows or keeps it can show them."""
    return replace(config, files=tuple(replace(file, content="") for file in config.files))


def sources(files: Sequence[GivenFile], directory: Path) -> list[tuple[GivenFile, Path]]:
    """Each file and where on the host its content is."""
    return [(file, directory / DIRECTORY / str(number)) for number, file in enumerate(files)]


def add(spec: dict[str, Any], files: Sequence[GivenFile], directory: Path) -> None:
    """Add the mounts to a runtime spec, last: a file may lie on a volume."""
    spec["mounts"] += [
        {
            "destination": file.path,
            "type": "bind",
            "source": str(source),
            "options": ["bind", "ro", "nosuid", "nodev"],
        }
        for file, source in sources(files, directory)
    ]
