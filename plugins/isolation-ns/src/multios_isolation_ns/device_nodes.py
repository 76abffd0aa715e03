"""Nodes of the devices that a container in a user namespace asked for: it may make none itself (user_namespaces(7))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from multios.model.mount import IdMap
from multios.supervisor import mounts
from multios_isolation_ns import plan


def make(
    devices: Sequence[dict[str, Any]], id_map: IdMap | None, first: int, closing: contextlib.ExitStack
) -> list[int]:
    """A detached mount of a node for each device asked for, from descriptor number ``first`` of the plan on.

    The nodes belong to the container's own ids. Where we are in a user namespace too, the host's node is
    bind-mounted, which must have the same path; ``Unsupported`` otherwise.
    """
    made: list[int] = []
    for device in devices:
        if not device.pop("asked", False) or id_map is None:
            continue
        uid, gid = (id_map.start + device[key] for key in ("uid", "gid"))
        number = os.makedev(device["major"], device["minor"])
        try:
            descriptor = mounts.make_device(device["mode"], number, uid, gid)
        except PermissionError:
            plan.same_on_host(device)
            continue
        closing.callback(os.close, descriptor)
        device["descriptor"] = first + len(made)
        made.append(descriptor)
    return made
