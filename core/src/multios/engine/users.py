"""Who a process runs as: ``user[:group]`` resolved in the container's own passwd and group files.

The files are read through the snapshot's mount records, layer by layer and without following symbolic links,
because what is in them is the image's, not the host's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multios.errors import InvalidInput, NotFound
from multios.model.mount import Mount
from multios.supervisor.mounts import backed

FILE_LIMIT = 1024 * 1024
LARGEST_ID = 65535
_MOST_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Account:
    """Ids inside the container, and the home directory."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"

    def section(self) -> dict[str, Any]:
        """The runtime spec's ``process.user``.

        The own group is among the additional ones too, or a set-group-ID program could lay it down and with it what
        a file refuses to that group (CVE-2022-36109).
        """
        return {"uid": self.uid, "gid": self.gid, "additionalGids": [self.gid, *self.groups]}


def resolve(user: str, rootfs: Sequence[Mount], extra_groups: Sequence[str] = ()) -> Account:
    """The account for ``user`` (``name``, ``uid``, ``name:group`` …; empty is root).

    ``NotFound`` names a user or group that the image does not have.
    """
    if user in ("", "0", "root", "0:0") and not extra_groups:
        return Account()
    name, _, group = (user or "0").partition(":")
    passwd = _table(rootfs, "etc/passwd", 7)
    entry = next((row for row in passwd if name in (row[0], row[2])), None)
    if entry is None and not name.isdecimal():
        raise NotFound(f"no such user in the container: {name!r}", "use a user of the image, or a numeric id")
    uid = _number(entry[2] if entry else name)
    home = (entry[5] if entry else "") or "/"
    groups = _table(rootfs, "etc/group", 4)
    gid = _group_id(group, groups) if group else _number(entry[3]) if entry else 0
    member_of = [_number(row[2]) for row in groups if entry and not group and entry[0] in row[3].split(",")]
    named = [_group_id(extra, groups) for extra in extra_groups]
    return Account(
        uid, gid, tuple(dict.fromkeys(number for number in member_of + named if number != gid)), home
    )


def _group_id(name: str, groups: list[list[str]]) -> int:
    row = next((row for row in groups if name in (row[0], row[2])), None)
    if row is None and not name.isdecimal():
        raise NotFound(
            f"no such group in the container: {name!r}", "use a group of the image, or a numeric id"
        )
    return _number(row[2] if row else name)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) > LARGEST_ID:
        text = text if len(text) <= _MOST_DIGITS else text[:_MOST_DIGITS] + "…"
        raise InvalidInput(
            f"user or group id {text!r} is out of range", f"use a number from 0 to {LARGEST_ID}"
        )
    return int(text)


def _table(rootfs: Sequence[Mount], path: str, columns: int) -> list[list[str]]:
    with backed(rootfs[-1]) as place:
        text = _read(_layers(rootfs[-1], f"/proc/self/fd/{place}/" if place >= 0 else ""), path)
    # Not splitlines(): a user who may change a comment could put one of the other line ends in it, and a line behind.
    rows = [line.split(":") for line in text.split("\n") if not line.startswith("#")]
    return [row for row in rows if len(row) >= columns and row[2].isdecimal()]


def _layers(root: Mount, own: str) -> list[str]:
    """The directories to look in; ``own`` is where the writable one is, if its mount does not say it all."""
    if root.type != "overlay":
        return [own + root.source]
    upper = root.option("upperdir")
    return ([own + upper] if upper else []) + (root.option("lowerdir") or "").split(":")


def _read(layers: list[str], path: str) -> str:
    for layer in layers:
        try:
            descriptor = _open_below(layer, path)
        except FileNotFoundError:
            continue
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""  # a whiteout, or no file: what lies below is hidden
            return file.read(FILE_LIMIT).decode("utf-8", "replace")
    return ""


def _open_below(layer: str, path: str) -> int:
    directory = os.open(layer, os.O_PATH | os.O_DIRECTORY)
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    *parents, name = path.split("/")
    try:
        for parent in parents:
            inner = os.open(parent, os.O_PATH | os.O_DIRECTORY | flags, dir_fd=directory)
            os.close(directory)
            directory = inner
        found = os.open(name, os.O_PATH | flags, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # opening a device could do something
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(found)
    finally:
        os.close(directory)
