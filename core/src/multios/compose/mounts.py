"""What is mounted into a service's containers, and the app's volumes."""

from __future__ import annotations

import os

from multios.compose import quantities
from multios.compose.addresses import checked_name
from multios.compose.field import Field
from multios.compose.networks import external_name
from multios.compose.paths import is_path
from multios.compose.tree import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NO_MEANING = ("rw", "cached", "delegated", "consistent", "rprivate", "private")
"""Options of a mount that are so anyway, or mean nothing on Linux."""
_OF_MEMORY = ("rw", "exec", "nosuid", "nodev", "mode=1777", "mode=01777")
"""Options of a tmpfs that are so anyway."""


class Volumes:
    """The volumes of the file; those that a service uses are made."""

    def __init__(self, field: Field | None, app: str) -> None:
        self._fields, self._app = field.named() if field else {}, app
        self._used: dict[str, dict[str, Any]] = {}
        self._directories: dict[str, str] = {}
        """Volumes that are a directory of the host's, with its path."""
        self._memory: dict[str, str] = {}
        """Volumes that are a file system in memory, with its size; empty for as much as there is."""

    def document(self) -> dict[str, Any]:
        """``volumes`` of the app document."""
        return self._used

    def use(self, key: str, asker: Field) -> dict[str, str]:
        """``{"volume": NAME}``, ``{"host": PATH}`` for a directory of the host's, or ``{"memory": SIZE}``."""
        if key in self._directories:
            return {"host": self._directories[key]}
        if key in self._memory:
            return {"memory": self._memory[key]}
        if key not in self._used:
            if key not in self._fields:
                raise asker.error(
                    f"there is no volume {key[:80]!r}",
                    f"define it: volumes: {{{key[:80]}: {{}}}}, or write ./{key[:80]} for a directory",
                )
            document = self._read(key, self._fields[key])
            if "host" in document:
                self._directories[key] = document["host"]
                return {"host": document["host"]}
            if "memory" in document:
                self._memory[key] = document["memory"]
                return {"memory": document["memory"]}
            self._used[key] = document
        return {"volume": str(self._used[key]["name"])}

    def anonymous(self, service: str, target: str, asker: Field, replicas: int) -> dict[str, str]:
        """A volume that the file gives no name: it is called for its service and its place."""
        if replicas > 1:
            raise asker.error(
                f"{replicas} containers would share this volume without a name", "name it in volumes:"
            )
        place = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in target).strip(
            "-"
        )
        key = f"{service}.{place}"[:63]
        name = checked_name(asker, f"{self._app}_{service}_{place}")
        self._used.setdefault(key, {"name": name})
        return {"volume": name}

    def _read(self, key: str, field: Field) -> dict[str, Any]:
        keys = field.table("volumes")
        if external := external_name(field, keys):
            for other in keys.keys() - {"external", "name"}:
                raise keys[other].error("an external volume is not the app's to define", "leave it out")
            return {"name": checked_name(field, external), "external": True}
        if "driver" in keys and keys["driver"].text() not in ("local", "default", ""):
            raise keys["driver"].error(
                f"there is no volume driver {keys['driver'].text()[:40]!r}", "use local"
            )
        if keys.get("driver_opts"):
            return _beside_volumes(keys["driver_opts"])
        name = keys["name"].text() if "name" in keys else f"{self._app}_{key}"
        document: dict[str, Any] = {"name": checked_name(keys.get("name", field), name)}
        if "labels" in keys and (labels := keys["labels"].texts()):
            document["labels"] = labels
        return document


def _beside_volumes(field: Field) -> dict[str, str]:
    """What a volume with options is: ``{"host": PATH}`` or ``{"memory": SIZE}``."""
    options = {name: item.text() for name, item in field.entries().items()}
    if options.get("type") == "tmpfs":
        return {"memory": _memory_size(field, options)}
    return {"host": _directory(field, options)}


def _memory_size(field: Field, options: dict[str, str]) -> str:
    if unknown := sorted(options.keys() - {"type", "o", "device"}):
        raise field.error(f"there is no option {unknown[0][:40]!r}", "a tmpfs has type, device and o")
    field.warn("each container gets a file system in memory of its own, which is empty at each start")
    found = ""
    for option in options.get("o", "").split(","):
        name, _, value = option.strip().partition("=")
        if name == "size" and value:
            found = str(quantities.size(Field(value, field.path, field.place, field.report), 4096))
        elif name:
            field.warn(
                f"the option {option.strip()[:40]!r} is left out: everybody may write there, as in /tmp"
            )
    return found


def _directory(field: Field, options: dict[str, str]) -> str:
    is_bind = "bind" in options.get("o", "").split(",") and options.get("type", "none") in ("none", "bind")
    if (
        not is_bind
        or options.keys() - {"type", "o", "device"}
        or not options.get("device", "").startswith("/")
    ):
        raise field.error(
            "the only options are those of a directory of the host's and of a tmpfs",
            "use type: none, o: bind, device: PATH; or type: tmpfs",
        )
    return options["device"]


class Mounts:
    """The mounts of one service."""

    def __init__(self, service: str, volumes: Volumes, replicas: int) -> None:
        self._service, self._volumes, self._replicas = service, volumes, replicas
        self._found: dict[str, dict[str, Any]] = {}
        self._memory: dict[str, dict[str, Any]] = {}
        self.directories: list[str] = []
        """Directories of the host's that are to be made, if they are missing."""

    def document(self) -> dict[str, Any]:
        """``volumes`` and ``tmpfs`` of the container document."""
        found = {"volumes": list(self._found.values()), "tmpfs": list(self._memory.values())}
        return {key: value for key, value in found.items() if value}

    def add_volumes(self, field: Field) -> None:
        """``volumes``"""
        for item in field.items():
            if isinstance(item.value, Table):
                self._long(item)
            else:
                self._short(item)

    def add_from(self, other: Mounts, is_read_only: bool) -> None:
        """What another service has mounted, where nothing is yet: ``volumes_from``."""
        for target, mount in other._found.items():
            if target not in self._found and target not in self._memory:
                self._found[target] = {**mount, "mode": "ro"} if is_read_only else mount
        self.directories += other.directories

    def add_tmpfs(self, field: Field) -> None:
        """``tmpfs``"""
        for item in field.some():
            target, _, options = item.text().partition(":")
            size = ""
            for option in options.split(",") if options else []:
                name, _, value = option.partition("=")
                if name == "size" and value:
                    size = value
                elif option not in _OF_MEMORY:
                    raise item.error(
                        f"the option {option[:40]!r} is not supported", "the only one is size=SIZE"
                    )
            self._add_memory(item, target, size)

    def _add(
        self, field: Field, target: str, source: dict[str, str], is_read_only: bool, nocopy: bool = False
    ) -> None:
        if "memory" in source:
            if is_read_only:
                raise field.error("a tmpfs is not read-only", "leave it out")
            self._add_memory(field, target, source["memory"])
            return
        target = self._target(field, target)
        self._found[target] = {**source, "container": target, **({"mode": "ro"} if is_read_only else {})}
        if nocopy and "volume" in source:  # a directory of the host's is never filled
            self._found[target]["nocopy"] = True

    def _add_memory(self, field: Field, target: str, size: str = "") -> None:
        target = self._target(field, target)
        self._memory[target] = {"container": target}
        if size and size != "0":
            self._memory[target]["size"] = quantities.size(
                Field(size, field.path, field.place, field.report), 4096
            )

    def _target(self, field: Field, text: str) -> str:
        if not text.startswith("/") or ".." in text.split("/") or not text.strip("/"):
            raise field.error(
                f"{text[:80]!r} is no place inside", "write an absolute path below /, without .."
            )
        target = os.path.normpath(text)
        target = "/" + target.lstrip("/")
        if target in self._found or target in self._memory:
            raise field.error(f"{target} is mounted twice", "mount each path once")
        return target

    def _short(self, field: Field) -> None:
        source, *rest = field.text().split(":")
        target, options = (rest[0], rest[1:]) if rest else (source, [])
        if len(options) > 1 or not target or (rest and not source):
            raise field.expected("[SOURCE:]PATH[:ro]")
        is_read_only = nocopy = False
        for option in options[0].split(",") if options else []:
            if option in ("ro", "readonly"):
                is_read_only = True
            elif option == "nocopy":
                nocopy = True
            elif option in ("z", "Z"):
                field.warn("the engine sets no SELinux labels")
            elif option not in _NO_MEANING:
                raise field.error(f"the option {option[:40]!r} is not supported", "use ro, or none")
        if not rest:
            self._add(
                field, target, self._volumes.anonymous(self._service, target, field, self._replicas), False
            )
        elif is_path(source):
            self._bind(field, source, target, is_read_only, is_made=True)
        else:
            self._add(field, target, self._volumes.use(source, field), is_read_only, nocopy)

    def _bind(self, field: Field, source: str, target: str, is_read_only: bool, is_made: bool) -> None:
        if not source.startswith("/"):
            raise field.error(f"{source[:80]!r} is no path", "write it as ./DIRECTORY or /DIRECTORY")
        self._add(field, target, {"host": source}, is_read_only)
        if is_made and not os.path.lexists(source):
            self.directories.append(source)

    def _long(self, field: Field) -> None:
        keys = field.table("volumes of a service")
        kind = keys["type"].one_of("bind", "volume", "tmpfs") if "type" in keys else "volume"
        if "target" not in keys:
            raise field.error("target is missing", "say where it is mounted inside")
        for other in {"bind", "volume", "tmpfs"} & keys.keys() - {kind}:
            raise keys[other].error(f"this is a {kind}", f"leave {other} out")
        target = keys["target"].text()
        is_read_only = keys["read_only"].flag() if "read_only" in keys else False
        options = keys[kind].table(f"volumes of a service, {kind}") if kind in keys else {}
        source = keys["source"].text() if "source" in keys else ""
        if kind == "bind":
            if not source:
                raise field.error("source is missing", "name the path of the host")
            is_made = options["create_host_path"].flag() if "create_host_path" in options else True
            _only(options, "propagation", "rprivate", "private", "")
            _only(options, "recursive", "enabled")
            self._bind(keys["source"], source, target, is_read_only, is_made)
        elif kind == "tmpfs":
            if source or is_read_only:
                raise field.error("a tmpfs has no source, and is not read-only", "leave it out")
            if "mode" in options and options["mode"].value not in (0o1777, 1777, "1777", "01777", "0o1777"):
                raise options["mode"].error("it is 01777", "leave it out")
            size = quantities.size(options["size"], 0) if "size" in options else 0
            self._add_memory(keys["target"], target, str(size))
        else:
            nocopy = options["nocopy"].flag() if "nocopy" in options else False
            use = self._volumes.use(source, keys["source"]) if source else None
            use = use or self._volumes.anonymous(self._service, target, field, self._replicas)
            self._add(keys["target"], target, use, is_read_only, nocopy)


def _only(options: dict[str, Field], key: str, *allowed: str) -> None:
    if key in options and options[key].text() not in allowed:
        raise options[key].error(
            f"{options[key].text()[:40]!r} is not supported", f"leave it out: it is {allowed[0]}"
        )


def devices(field: Field) -> list[dict[str, str]]:
    """``devices`` of the container document."""
    found = []
    for item in field.items():
        if isinstance(item.value, Table):
            keys = item.table("devices")
            if "source" not in keys:
                raise item.error("source is missing", "name the device of the host")
            host = keys["source"].text()
            inside = keys["target"].text() if "target" in keys else host
            access = keys["permissions"].text() if "permissions" in keys else "rwm"
        else:
            host, *rest = item.text().split(":")
            inside = rest.pop(0) if rest and "/" in rest[0] else host
            access = rest.pop(0) if rest else "rwm"
            if rest:
                raise item.expected("HOST[:CONTAINER][:rwm]")
        if not host.startswith("/") or not inside.startswith("/dev/"):
            raise item.error("a device is /dev/NAME, and below /dev inside", "write HOST[:CONTAINER][:rwm]")
        if not access or set(access) - set("rwm") or len(set(access)) != len(access):
            raise item.error(f"{access[:20]!r} is no access", "use some of r, w and m")
        found.append({"host": host, "container": inside, "access": access})
    return found
