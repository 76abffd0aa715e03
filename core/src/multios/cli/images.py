"""``images`` and ``image …``."""

from __future__ import annotations

import os
import sys

from multios.cli.grammar import FLAG, LIST, Argument, Command, Option
from multios.cli.output import FORMAT, print_records, print_rows
from multios.cli.tables import ago, size
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns

STDIN_NAME = "imported:latest"
"""What an archive from stdin is called when no name is given."""


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


_COLUMNS: Columns = (
    ("REPOSITORY", "Repository", lambda row: _reference(row)[0]),
    ("TAG", "Tag", lambda row: _reference(row)[1]),
    ("IMAGE ID", "ID", lambda row: _short(row["id"])),
    ("CREATED", "Created", lambda row: ago(row["created"])),
    ("SIZE", "Size", lambda row: size(row["size"])),
)


def _reference(row: dict[str, Any]) -> tuple[str, str]:
    name, _, tag = row["reference"].rpartition(":")
    return (
        (name, tag)
        if name and "/" not in tag
        else (row["reference"] or "<none>", "latest" if row["reference"] else "<none>")
    )


def _list(values: Values, context: Context) -> int:
    images = context.call("images.list")
    if values["quiet"]:
        images = [{**image, "id": _short(image["id"])} for image in images]
    elif values["format"] != "json":
        images = [{**image, "reference": name} for image in images for name in image["references"] or [""]]
    print_rows(images, _COLUMNS, values["format"], "id" if values["quiet"] else "")
    return 0


def _remove(values: Values, context: Context) -> int:
    def remove(ref: str) -> None:
        for removed in context.call("images.remove", {"ref": ref, "force": values["force"]})["removed"]:
            sys.stdout.write(f"{removed}\n")

    return context.each(values["refs"], remove)


def _inspect(values: Values, context: Context) -> int:
    records: list[Any] = []
    status = context.each(
        values["refs"], lambda ref: records.append(context.call("images.inspect", {"ref": ref}))
    )
    print_records(records, values["format"])
    return status


def _import(values: Values, context: Context) -> int:
    """``import [FILE|-] [NAME]``: one word is a file if there is one of that name, else the image's name."""
    words = values["words"]
    path, name = "-", STDIN_NAME
    if len(words) == 2:
        path, name = words
    elif len(words) == 1 and (words[0] == "-" or os.path.isfile(words[0])):
        path = words[0]
        name = STDIN_NAME if path == "-" else os.path.basename(path).split(".tar")[0].lower() + ":latest"
    elif words:
        name = words[0]
    if len(words) > 2:
        raise InvalidInput("too many words", "write image import [FILE] [NAME]")
    if path == "-" and os.isatty(0):
        raise InvalidInput("no archive is given", "write image import NAME < FILE")
    stream = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    params = {"reference": name, "changes": _changes(values["change"])}
    sys.stdout.write(f"{context.call('images.import', params, [stream])['id']}\n")
    return 0


def _changes(texts: list[str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            key, separator, value = text.partition(" ")
        if not separator:
            raise InvalidInput(f"--change: {text!r} cannot be read", "write it as --change CMD=/bin/sh")
        result[key] = value
    return result


_LIST = Command(
    _list,
    (Option("--quiet -q", "quiet", FLAG, "Print ids only"), FORMAT),
    (),
    "",
    ("images", "images --format '{{.Repository}}:{{.Tag}}'"),
)
_REFS = Argument("refs", "IMAGE", 1, 0, completes="images")

COMMANDS = {
    "images": _LIST,
    "image list": _LIST,
    "image rm": Command(
        _remove,
        (Option("--force -f", "force", FLAG, "Remove it even if it has several names"),),
        (_REFS,),
        "",
        ("image rm myapp:latest",),
    ),
    "image inspect": Command(_inspect, (FORMAT,), (_REFS,), "", ("image inspect debian:12",)),
    "image import": Command(
        _import,
        (Option("--change -c", "change", LIST, "Set a field of the image's configuration", "KEY=VALUE"),),
        (Argument("words", "[FILE] [NAME]", 0, 0, completes="files"),),
        f"The archive is a root file system as tar, plain or compressed; without FILE it is read from stdin. "
        f"Without a name it is called after the file, or {STDIN_NAME}.",
        ("image import myapp:latest < rootfs.tar", "image import rootfs.tar.gz myapp:1.0"),
    ),
}
