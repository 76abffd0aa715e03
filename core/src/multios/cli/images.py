"""``images`` and ``image …``."""

from __future__ import annotations

import sys

from multios.cli.filters import FILTER, filters
from multios.cli.grammar import FLAG, LIST, TEXT, Argument, Command, Option
from multios.cli.moments import moment
from multios.cli.output import FORMAT, print_records, print_rows
from multios.cli.tables import ago, clip, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Cell, Columns

_CREATED_BY = 60


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


def _columns(values: Values) -> Columns:
    digests: Columns = (("DIGEST", "Digest", lambda row: row.get("digest", "")),)
    return (
        ("REPOSITORY", "Repository", lambda row: _reference(row)[0]),
        ("TAG", "Tag", lambda row: _reference(row)[1]),
        *(digests if values["digests"] else ()),
        ("IMAGE ID", "ID", lambda row: row["id"] if values["no_trunc"] else _short(row["id"])),
        ("CREATED", "Created", lambda row: ago(row["created"])),
        ("SIZE", "Size", lambda row: size(row["size"])),
    )


_SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "created": lambda row: -row["created"],
    "id": lambda row: row["id"],
    "repository": lambda row: _first_name(row),
    "size": lambda row: row["size"],
    "tag": lambda row: _first_name(row).rpartition(":")[2],
}


def _first_name(row: dict[str, Any]) -> str:
    return str(row["references"][0]) if row["references"] else ""


def _reference(row: dict[str, Any]) -> tuple[str, str]:
    name, _, tag = row["reference"].rpartition(":")
    return (
        (name, tag)
        if name and "/" not in tag
        else (row["reference"] or "<none>", "latest" if row["reference"] else "<none>")
    )


def _list(values: Values, context: Context) -> int:
    wanted = _filters(values)
    if values["name"]:
        wanted["reference"] = values["name"]
    images = context.call("images.list", {"filters": wanted} if wanted else {})
    if values["sort"]:
        images.sort(key=_SORTS[values["sort"]])
    if values["quiet"]:
        images = [
            {**image, "id": image["id"] if values["no_trunc"] else _short(image["id"])} for image in images
        ]
    elif values["format"] != "json":
        images = [{**image, "reference": name} for image in images for name in image["references"] or [""]]
    print_rows(images, _columns(values), values["format"], "id" if values["quiet"] else "")
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


def _tag(values: Values, context: Context) -> int:
    context.call("images.tag", {"ref": values["ref"], "names": values["names"]})
    return 0


def _history(values: Values, context: Context) -> int:
    rows = context.call("images.history", {"ref": values["ref"]})
    whole = values["no_trunc"]
    shown = [{**row, "id": row["id"] if whole else _short(row["id"])} for row in rows]
    by: Cell = lambda row: row["created_by"] if whole else clip(row["created_by"], _CREATED_BY)  # noqa: E731
    columns: Columns = (
        ("ID", "ID", lambda row: row["id"]),
        ("CREATED", "Created", lambda row: ago(row["created"])),
        ("CREATED BY", "CreatedBy", by),
        ("SIZE", "Size", lambda row: size(row["size"])),
        ("COMMENT", "Comment", lambda row: row["comment"]),
    )
    print_rows(
        rows if values["format"] == "json" else shown,
        columns,
        values["format"],
        "id" if values["quiet"] else "",
    )
    return 0


def _prune(values: Values, context: Context) -> int:
    answer = context.call("images.prune", {"all": values["all"], "filters": _filters(values)})
    sys.stdout.write("".join(f"{item}\n" for item in answer["removed"]))
    sys.stdout.write(f"Freed: {size(answer['freed'])}\n")
    return 0


def _filters(values: Values) -> dict[str, Any]:
    """As the daemon takes them: times in seconds since the epoch."""
    found = filters(values["filter"])
    if "until" in found:
        found["until"] = str(moment(str(found["until"]), "--filter until"))
    return found


_FORCE = Option("--force -f", "force", FLAG, "Accepted for podman's sake; nothing is asked")
_NO_TRUNC = Option("--no-trunc", "no_trunc", FLAG, "Shorten nothing")
_LIST = Command(
    _list,
    (
        Option("--quiet -q", "quiet", FLAG, "Print ids only"),
        Option("--all -a", "all", FLAG, "Accepted for podman's sake; all are shown"),
        Option("--digests", "digests", FLAG, "Show the digests of the manifests"),
        Option(
            "--sort", "sort", TEXT, "By created, id, repository, size or tag", "KEY", choices=tuple(_SORTS)
        ),
        _NO_TRUNC,
        FILTER,
        FORMAT,
    ),
    (Argument("name", "[NAME]", 0, completes="images"),),
    "Filters are reference, dangling, label, before, since, until and id.",
    ("images", "images --format '{{.Repository}}:{{.Tag}}'", "images --filter dangling=true"),
)
_REFS = Argument("refs", "IMAGE", 1, 0, completes="images")
_ONE = Argument("ref", "IMAGE", completes="images")
_REMOVE = Command(
    _remove,
    (Option("--force -f", "force", FLAG, "Remove it even if it has several names"),),
    (_REFS,),
    "",
    ("image rm myapp:latest",),
)
_TAG = Command(_tag, (), (_ONE, Argument("names", "NAME", 1, 0)), "", ("tag myapp:latest myapp:1.0",))
_HISTORY = Command(
    _history,
    (Option("--quiet -q", "quiet", FLAG, "Print ids only"), _NO_TRUNC, FORMAT),
    (_ONE,),
    "Sizes are those of the stored layers.",
    ("history myapp:latest",),
)

COMMANDS = {
    "images": _LIST,
    "image list": _LIST,
    "rmi": _REMOVE,
    "image rm": _REMOVE,
    "tag": _TAG,
    "image tag": _TAG,
    "history": _HISTORY,
    "image history": _HISTORY,
    "image inspect": Command(_inspect, (FORMAT,), (_REFS,), "", ("image inspect debian:12",)),
    "image prune": Command(
        _prune,
        (
            Option("--all -a", "all", FLAG, "Images with a name too, if no container uses them"),
            Option("--filter", "filter", LIST, "Only those that pass", "KEY=VALUE"),
            _FORCE,
        ),
        (),
        "Without --all only images without a name go. Filters are label and until.",
        ("image prune", "image prune --all --filter until=24h"),
    ),
}
