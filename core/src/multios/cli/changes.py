"""``diff`` and ``commit``: what a container changed, and an image of it."""

from __future__ import annotations

import os
import sys

from multios.cli.grammar import FLAG, LIST, TEXT, Argument, Command, Option
from multios.cli.output import pretty
from multios.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.cli.context import Context
    from multios.cli.grammar import Values


def _diff(values: Values, context: Context) -> int:
    """Of a container; of an image where no container has that name."""
    params = {"ref": values["ref"]}
    try:
        rows = context.call("containers.diff", params)
    except NotFound as wrong:
        try:
            rows = context.call("images.diff", params)
        except NotFound:
            raise wrong from None
    return _print(rows, values)


def _image_diff(values: Values, context: Context) -> int:
    return _print(context.call("images.diff", {"ref": values["ref"]}), values)


def _print(rows: list[dict[str, str]], values: Values) -> int:
    if values["format"] == "json":
        names = {"A": "added", "C": "changed", "D": "deleted"}
        sys.stdout.write(
            pretty(
                {name: [row["path"] for row in rows if row["kind"] == kind] for kind, name in names.items()}
            )
            + "\n"
        )
    else:
        from multios.cli.tables import harmless

        sys.stdout.write("".join(f"{row['kind']} {harmless(row['path'])}\n" for row in rows))
    return 0


def _commit(values: Values, context: Context) -> int:
    params = {
        "ref": values["ref"],
        "reference": values["image"] or "",
        "message": values["message"] or "",
        "author": values["author"] or "",
        "changes": values["change"],
        "pause": values["pause"],
    }
    image = context.call("containers.commit", params)["id"]
    if values["iidfile"]:
        with open(os.path.abspath(values["iidfile"]), "w", encoding="ascii") as file:
            file.write(f"sha256:{image}")
    sys.stdout.write(f"{image}\n")
    return 0


_FORMAT = Option("--format", "format", TEXT, "Write json instead of lines", "json", choices=("json",))
_COMMIT = Command(
    _commit,
    (
        Option("--author -a", "author", TEXT, "Who made it", "NAME"),
        Option("--change -c", "change", LIST, "Apply a line of a Dockerfile to it", "INSTRUCTION"),
        Option("--iidfile", "iidfile", TEXT, "Write the image's id to a file", "FILE", completes="files"),
        Option("--message -m", "message", TEXT, "What changed, for the history", "TEXT"),
        Option("--pause -p", "pause", FLAG, "Freeze the container meanwhile"),
        Option("--quiet -q", "quiet", FLAG, "Accepted for podman's sake; only the id is printed"),
    ),
    (Argument("ref", "CONTAINER", completes="containers"), Argument("image", "[IMAGE]", 0)),
    "Volumes are not in it.",
    (
        "commit my-python my-python:fixed",
        "commit --change 'CMD python3' --message 'with numpy' my-python lab:2",
    ),
)

COMMANDS = {
    "diff": Command(
        _diff,
        (_FORMAT,),
        (Argument("ref", "CONTAINER|IMAGE", completes="containers"),),
        "A is added, C changed, D deleted. Of an image it is what its last step changed.",
        ("diff my-python",),
    ),
    "commit": _COMMIT,
    "image commit": _COMMIT,
    "image diff": Command(
        _image_diff,
        (_FORMAT,),
        (Argument("ref", "IMAGE", completes="images"),),
        "What the last step changed: A is added, C changed, D deleted.",
        ("image diff myapp:latest",),
    ),
}
