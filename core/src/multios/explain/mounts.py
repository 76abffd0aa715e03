"""The mount table as layers: what the root consists of, what lies over it, what is hidden (mount_namespaces(7))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multios.explain.live import LiveProcess, unescape
from multios.explain.part import part
from multios.model.mount import Mount

_FLAGS = ("nosuid", "nodev", "noexec")
MOST = 400
"""Mounts that are told of: a privileged container makes as many as it likes."""


def mounts(
    process: LiveProcess | None,
    spec: Mapping[str, Any],
    rootfs: Sequence[Mount],
    volumes: Mapping[str, str],
) -> dict[str, Any]:
    """The root's layers, the mounts, the masked and the read-only paths. ``volumes`` maps names to directories."""
    linux = spec["linux"]
    masked, readonly = set(linux.get("maskedPaths") or ()), set(linux.get("readonlyPaths") or ())
    rows = _table(process) if process else _planned(spec, volumes)
    root = _root(rows, rootfs, spec)
    facts = {
        "root": root,
        "mounts": [row for row in rows if row["target"] not in masked | readonly and row["target"] != "/"],
        "masked": sorted(row["target"] for row in rows if row["target"] in masked)
        if process
        else sorted(masked),
        "read_only": sorted(
            row["target"] for row in rows if row["target"] in readonly and "ro" in row["options"]
        )
        if process
        else sorted(readonly),
    }
    facts["asked"] = [_asked(row, volumes) for row in spec["mounts"]]
    pid = str(process.pid) if process else "PID"
    return part(
        "mounts",
        "Files: mounts and layers",
        (
            "The root directory is several directories of the host laid over one another: the lower ones are the "
            "image and never change, the upper one takes everything that the container writes.",
            "Over it lie file systems that the kernel makes up, such as /proc, and what could give the host away "
            "there is covered or made read-only.",
        ),
        (
            f"cat /proc/{pid}/mountinfo",
            "mount   (inside)",
            f"ls {root['upper'] or '<upper directory>'}   (what the container has written)",
        ),
        facts,
    )


def _root(
    rows: Sequence[Mapping[str, Any]], rootfs: Sequence[Mount], spec: Mapping[str, Any]
) -> dict[str, Any]:
    """The storage driver knows the directories: the kernel has only detached mounts of them, by the names ``/``, ``/fs``."""
    mount = rootfs[-1]
    is_layered = mount.type == "overlay"
    lower = (mount.option("lowerdir") or "").split(":")
    kernels = next((row for row in rows if row["target"] == "/"), None)
    return {
        "type": kernels["type"] if kernels else mount.type,
        "copy": "" if is_layered else mount.source,
        "lower": [path for path in lower if path],
        "upper": mount.option("upperdir") or "",
        "work": mount.option("workdir") or "",
        "limited_file": mount.backing.file if mount.backing else "",
        "id_mapped": bool(spec["linux"].get("uidMappings")),
        "read_only": "ro" in kernels["options"] if kernels else bool(spec["root"].get("readonly")),
        "flags": [word for word in kernels["options"] if word in _FLAGS] if kernels else ["nodev"],
        "kernel": " ".join(kernels["kernel_options"]) if kernels else "",
    }


def _table(process: LiveProcess) -> list[dict[str, Any]]:
    rows = []
    for line in process.text("mountinfo").splitlines()[:MOST]:
        fields = line.split(" ")
        end = fields.index("-")
        options = fields[5].split(",")
        source = unescape(fields[end + 2])
        if fields[3] != "/":  # a part of that file system: a bind mount
            source = f"{source}[{unescape(fields[3])}]"
        rows.append(
            {
                "target": unescape(fields[4]),
                "type": fields[end + 1],
                "source": source,
                "options": options,
                "kernel_options": fields[end + 3].split(","),
                "id_mapped": "idmapped" in options,
            }
        )
    return rows


def _asked(row: Mapping[str, Any], volumes: Mapping[str, str]) -> dict[str, Any]:
    """A mount of the runtime spec, as whoever builds the same by hand needs it."""
    return {
        "target": row["destination"],
        "type": row["type"],
        "source": volumes.get(row["source"], row["source"]) if row["type"] == "bind" else row["source"],
        "options": list(row.get("options") or ()),
    }


def _planned(spec: Mapping[str, Any], volumes: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {**_asked(row, volumes), "kernel_options": [], "id_mapped": bool(row.get("uidMappings"))}
        for row in spec["mounts"]
    ]
