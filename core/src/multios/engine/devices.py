"""Devices of the host's in a container: a node and a rule each (runtime-spec, config-linux.md, "Devices")."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any

from multios.errors import InvalidInput, NotFound
from multios.model.container import Device

_KINDS = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}


def add(spec: dict[str, Any], devices: Sequence[Device]) -> None:
    """Give ``spec`` a node and an allow rule for each; inside, the node is root's, with the mode that it has here.

    ``NotFound`` and ``InvalidInput`` name what is no device of this host's now.
    """
    linux = spec["linux"]
    for device in devices:
        found = _device_of_host(device.host)
        kind = _KINDS[stat.S_IFMT(found.st_mode)]
        numbers = {"type": kind, "major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}
        node = {"path": device.container, **numbers, "fileMode": stat.S_IMODE(found.st_mode) & 0o777}
        linux.setdefault("devices", []).append({**node, "uid": 0, "gid": 0})
        linux["resources"]["devices"].append({"allow": True, **numbers, "access": device.access})


def _device_of_host(path: str) -> os.stat_result:
    try:
        found = os.stat(path)
    except OSError as error:
        raise NotFound(f"device {path}: {error.strerror}", "name one that this host has") from None
    if stat.S_IFMT(found.st_mode) not in _KINDS:
        raise InvalidInput(f"{path} is no device", "name a character or block device, or use --volume")
    return found
