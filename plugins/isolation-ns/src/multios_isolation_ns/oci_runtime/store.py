"""What the runtime keeps of a container between two operations: a directory ``ROOT/ID``.

``state.json`` is the record, ``config.json`` the bundle's configuration as it was at *create*, ``start`` the socket
on which the first process waits. Only root may enter.
"""

from __future__ import annotations

import json
import os
import stat

from multios.errors import Conflict, InvalidInput, NotFound
from multios_isolation_ns.oci_runtime import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")
_START_TIME = 19  # field 22 of proc_pid_stat(5), counted from behind the name
START_SOCKET = "start"


def default_root() -> str:
    """``/run/multios-oci-runtime``; an ordinary user's is below XDG_RUNTIME_DIR."""
    personal = os.environ.get("XDG_RUNTIME_DIR", "")
    base = personal if os.geteuid() != 0 and personal else "/run"
    return f"{base}/multios-oci-runtime"


def check_id(container_id: str) -> str:
    """The id, if it may be a directory's name; others raise ``InvalidInput``."""
    plain = container_id and container_id[0] != "." and _LETTERS.issuperset(container_id)
    if not plain or len(container_id) > 255:
        raise InvalidInput(
            f"bad container id {container_id[:80]!r}", "letters, digits, _ + - and . (not first), at most 255"
        )
    return container_id


class Store:
    """The directory ``root``; made at first use."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def directory(self, container_id: str) -> str:
        """Where what is kept of one container stands."""
        return f"{self.root}/{check_id(container_id)}"

    def claim(self, container_id: str) -> None:
        """Take an id: ``Conflict`` if it is in use."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        try:
            os.mkdir(self.directory(container_id), 0o700)
        except FileExistsError:
            raise Conflict(
                f"container with id exists already: {container_id}", "delete it or choose another id"
            ) from None

    def write(self, container_id: str, record: dict[str, Any]) -> None:
        """Whole or not at all."""
        path = f"{self.directory(container_id)}/state.json"
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(path + ".new", path)

    def read(self, container_id: str) -> dict[str, Any]:
        """The record; ``NotFound`` if there is none."""
        try:
            with open(f"{self.directory(container_id)}/state.json", encoding="utf-8") as file:
                record: dict[str, Any] = json.load(file)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"container does not exist: {container_id}") from None
        return record

    def exists(self, container_id: str) -> bool:
        """Whether the id is taken, be it by a create that died half-way."""
        return os.path.isdir(self.directory(container_id))

    def keep_config(self, container_id: str, spec: dict[str, Any]) -> None:
        """Keep the configuration: the bundle may change while the container runs."""
        with open(f"{self.directory(container_id)}/config.json", "w", encoding="utf-8") as file:
            json.dump(spec, file)

    def config(self, container_id: str) -> dict[str, Any]:
        """The configuration of *create*."""
        try:
            with open(f"{self.directory(container_id)}/config.json", encoding="utf-8") as file:
                spec: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return {}
        return spec

    def remove(self, container_id: str) -> None:
        """Forget a container; absent: no error."""
        directory = self.directory(container_id)
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return
        for name in names:
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)

    def ids(self) -> list[str]:
        """All containers, by id."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith(".") and self.exists(name))

    def waits(self, container_id: str) -> bool:
        """Whether the first process waits to be started."""
        try:
            found = os.stat(f"{self.directory(container_id)}/{START_SOCKET}")
        except FileNotFoundError:
            return False
        return stat.S_ISSOCK(found.st_mode)


def state(record: dict[str, Any], status: str) -> dict[str, Any]:
    """The State of the runtime spec (runtime.md), as *state* prints it and hooks read it."""
    shown = {"ociVersion": SPEC_VERSION, "id": record["id"], "status": status}
    if status != "stopped":
        shown["pid"] = record["pid"]
    return shown | {"bundle": record["bundle"], "annotations": record["annotations"]}


def birth_of(pid: int) -> int:
    """When a process began, in ticks since boot; 0 for one that is dead or a zombie. A number is used again, both are not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[_START_TIME])


def lives(record: dict[str, Any]) -> bool:
    """Whether the first process is there."""
    return bool(record["pid"]) and birth_of(record["pid"]) == record["born"]
