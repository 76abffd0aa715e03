"""The ``volumes``, ``tmpfs``, ``files`` and ``devices`` of the container document.

A part of :mod:`multios.model.container_document`: readers take a field's path and its value, and give the checked one.
"""

from __future__ import annotations

import base64
import binascii
import os
import posixpath
import re
from typing import Any

from multios.errors import InvalidInput
from multios.model.container import Device, GivenFile, Volume
from multios.model.container_names import check_name
from multios.model.fields import (
    Reader,
    read_absolute,
    read_boolean,
    read_fields,
    read_integer,
    read_list,
    read_text,
    wrong,
)
from multios.model.resources_section import size_reader

MOST_FILES = 100
LARGEST_FILE = 1 << 20
LARGEST_FILES = 4 << 20
"""Bytes of all the files given to a container, together."""


def _mode(path: str, value: Any) -> str:
    if value not in ("rw", "ro"):
        raise wrong(path, value, "rw or ro")
    return str(value)


def read_volume(path: str, value: Any) -> Volume:
    """One of ``volumes``: a host path or a named volume."""
    fields = read_fields(path, value, _VOLUME)
    if ("host" in fields) == ("volume" in fields):
        raise InvalidInput(f"{path}: give either 'host' or 'volume'", "a host path or a volume's name")
    if "container" not in fields:
        raise InvalidInput(f"{path}.container is missing", "say where it is mounted inside")
    kind = "bind" if "host" in fields else "volume"
    source = fields.get("host") or fields.get("volume") or ""
    if kind == "bind" and fields.get("nocopy"):
        raise InvalidInput(f"{path}.nocopy: a path of the host is never filled", "leave it out")
    target = _target(f"{path}.container", fields["container"])
    return Volume(kind, source, target, fields.get("mode", "rw"), fields.get("nocopy", False))


def _target(path: str, value: str) -> str:
    if value.rstrip("/") == "":
        raise wrong(path, value, "a path below /")
    return value.rstrip("/")


def read_tmpfs(path: str, value: Any) -> Volume:
    """One of ``tmpfs``."""
    fields = read_fields(path, value, {"container": read_absolute, "size": size_reader(4096)})
    if "container" not in fields:
        raise InvalidInput(f"{path}.container is missing", "say where it is mounted inside")
    return Volume("tmpfs", str(fields.get("size", "")), _target(path, fields["container"]))


def read_files(path: str, value: Any) -> tuple[GivenFile, ...]:
    """All ``files``, with the bounds that they have together."""
    if isinstance(value, (list, tuple)) and len(value) > MOST_FILES:
        raise InvalidInput(f"{path}: {len(value)} files; at most {MOST_FILES} can be given", "use a volume")
    files: tuple[GivenFile, ...] = read_list(_file)(path, value)
    size = sum(file.size for file in files)
    if size > LARGEST_FILES:
        raise InvalidInput(f"{path}: {size} bytes; at most {LARGEST_FILES} can be given", "use a volume")
    return files


def _file(path: str, value: Any) -> GivenFile:
    fields = read_fields(path, value, _FILE)
    for key in ("path", "content"):
        if key not in fields:
            raise InvalidInput(f"{path}.{key} is missing", "a file needs a path and a content")
    content = fields.pop("content")
    return GivenFile(**fields, size=len(content), content=base64.b64encode(content).decode())


def _file_path(path: str, value: Any) -> str:
    place = "/" + posixpath.normpath(read_absolute(path, value)).lstrip("/")
    if str(value).endswith("/") or place.split("/")[1] in ("", "dev", "proc", "sys"):
        raise wrong(path, value, "a file's path outside /dev, /proc and /sys")
    return place


def _file_content(path: str, value: Any) -> bytes:
    """The bytes; no refusal shows them, because they may be a secret."""
    if isinstance(value, str) and len(value) > 4 * (LARGEST_FILE // 3 + 1):
        raise InvalidInput(f"{path}: more than {LARGEST_FILE} bytes", "use a volume")
    try:
        content = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidInput(f"{path}: not base64 text", "encode it, as with `base64 -w0 FILE`") from None
    if len(content) > LARGEST_FILE:
        raise InvalidInput(f"{path}: more than {LARGEST_FILE} bytes", "use a volume")
    return content


def _file_mode(path: str, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-7]{3,4}", value):
        value = int(value, 8)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
        raise wrong(path, value, 'permissions such as "0440" or the number 288')
    return value


def read_device(path: str, value: Any) -> Device:
    """One of ``devices``."""
    fields = read_fields(path, value, {"host": read_absolute, "container": read_absolute, "access": _access})
    if "host" not in fields:
        raise InvalidInput(f"{path}.host is missing", "say which device of the host is meant")
    inside = _target(f"{path}.container", fields.get("container", fields["host"]))
    if os.path.dirname(inside).split("/")[1] != "dev":
        raise wrong(f"{path}.container", inside, "a path below /dev")
    return Device(fields["host"], inside, fields.get("access", "rwm"))


def _access(path: str, value: Any) -> str:
    text = read_text(path, value)
    if not text or set(text) - set("rwm") or len(set(text)) != len(text):
        raise wrong(path, value, "some of r (read), w (write) and m (make nodes)")
    return text


_VOLUME: dict[str, Reader] = {
    "host": read_absolute,
    "volume": lambda path, value: check_name("volume", read_text(path, value)),
    "container": read_absolute,
    "mode": _mode,
    "nocopy": read_boolean,
}
_FILE: dict[str, Reader] = {
    "path": _file_path,
    "content": _file_content,
    "mode": _file_mode,
    "uid": read_integer(0, 2**32 - 2),
    "gid": read_integer(0, 2**32 - 2),
    "secret": read_boolean,
}
