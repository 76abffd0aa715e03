"""Namespaces beside the host's, and the map of ids between them (namespaces(7), user_namespaces(7))."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from multios.explain.live import LiveProcess
from multios.explain.part import part

KINDS = (  # of the kernel, of the OCI spec, what a container has of its own there
    ("user", "user", "user and group ids, and what root may do"),
    ("pid", "pid", "process numbers: the first process is number 1"),
    ("mnt", "mount", "the tree of mounted file systems"),
    ("net", "network", "interfaces, addresses, routes, ports and packet filters"),
    ("uts", "uts", "the host's name"),
    ("ipc", "ipc", "shared memory, semaphores and message queues"),
    ("cgroup", "cgroup", "what it sees as the top of the control groups"),
    ("time", "time", "the clocks that count since boot"),
)


def namespaces(process: LiveProcess | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Each kind with the numbers of both sides; without a process, what the spec asks for.

    ``shared`` is: with the host; ``joined``: with the container whose network it uses.
    """
    planned = {row["type"] for row in spec["linux"]["namespaces"]}
    joined = {row["type"] for row in spec["linux"]["namespaces"] if row.get("path")}
    rows = []
    for kind, word, keeps in KINDS:
        host = _of_host(kind)
        if host is None:
            continue
        own = process.namespace(kind) if process else None
        shared = own == host if process else word not in planned
        rows.append(
            {
                "kind": kind,
                "inode": own,
                "host_inode": host,
                "shared": shared,
                "joined": word in joined,
                "keeps": keeps,
            }
        )
    pid = str(process.pid) if process else "PID"
    return part(
        "namespaces",
        "Namespaces",
        (
            "A namespace is the kernel's way of giving a process its own copy of something that is otherwise one "
            "for the whole machine.",
            "Two processes whose namespace has the same number see the same thing; a container is a process that "
            "has other numbers than the host's processes.",
        ),
        (f"ls -l /proc/{pid}/ns /proc/self/ns", "lsns", "readlink /proc/self/ns/uts   (inside and outside)"),
        {"rows": rows},
    )


def ids(process: LiveProcess | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The id map as the kernel has it, and who the first process is on either side."""
    user = spec["process"]["user"]
    facts: dict[str, Any] = {
        "users": _map(process.text("uid_map")) if process else _planned(spec, "uidMappings"),
        "groups": _map(process.text("gid_map")) if process else _planned(spec, "gidMappings"),
        "uid": user["uid"],
        "gid": user["gid"],
        "host_uid": None,
    }
    if process:
        facts["host_uid"] = int(process.status()["Uid"].split()[1])
        facts["uid"] = _inside(facts["host_uid"], facts["users"])
    pid = str(process.pid) if process else "PID"
    return part(
        "ids",
        "Users",
        (
            "Every user id inside is another, powerless id on the host: the map says which.",
            "So root inside may do what it likes to what belongs to the container, and is nobody to everything else.",
        ),
        (
            f"cat /proc/{pid}/uid_map",
            f"grep Uid /proc/{pid}/status   (the id on the host)",
            "id   (inside)",
        ),
        facts,
    )


def _of_host(kind: str) -> int | None:
    for who in ("1", "self"):  # another user's processes keep theirs to themselves
        try:
            return os.stat(f"/proc/{who}/ns/{kind}").st_ino
        except FileNotFoundError:
            return None
        except PermissionError:
            continue
    return None


def _map(text: str) -> list[dict[str, int]]:
    rows = (line.split() for line in text.splitlines())
    return [{"inside": int(row[0]), "outside": int(row[1]), "count": int(row[2])} for row in rows]


def _planned(spec: Mapping[str, Any], name: str) -> list[dict[str, int]]:
    rows = spec["linux"].get(name) or ({"containerID": 0, "hostID": 0, "size": 2**32 - 1},)
    return [{"inside": row["containerID"], "outside": row["hostID"], "count": row["size"]} for row in rows]


def _inside(uid: int, rows: list[dict[str, int]]) -> int | None:
    for row in rows:
        if 0 <= uid - row["outside"] < row["count"]:
            return uid - row["outside"] + row["inside"]
    return None
