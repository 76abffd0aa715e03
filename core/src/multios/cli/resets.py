"""``reset`` and ``snapshot``: a container back to how it was."""

from __future__ import annotations

import sys

from multios.cli.grammar import FLAG, TEXT, Argument, Command, Option
from multios.cli.output import FORMAT, print_rows
from multios.cli.tables import size
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns

_ONE = Argument("ref", "CONTAINER", completes="containers")
_COLUMNS: Columns = (
    ("NAME", "Name", lambda row: row["name"]),
    ("SIZE", "Size", lambda row: size(row["size"])),
)


def _reset(values: Values, context: Context) -> int:
    params = {"to": values["to"] or "", "keep_home": values["keep_home"]}

    def one(ref: str) -> None:
        context.call("containers.reset", {"ref": ref, **params})
        sys.stdout.write(f"{ref}\n")

    return context.each(values["refs"], one)


def _snapshot(values: Values, context: Context) -> int:
    ref, name = values["ref"], values["snapshot"]
    if name is None:
        if values["remove"]:
            raise InvalidInput("no snapshot was named", f"see them: multios-container snapshot {ref}")
        print_rows(context.call("containers.snapshots", {"ref": ref}), _COLUMNS, values["format"])
        return 0
    method = "containers.remove_snapshot" if values["remove"] else "containers.snapshot"
    context.call(method, {"ref": ref, "snapshot": name})
    sys.stdout.write(f"{name}\n")
    return 0


COMMANDS = {
    "reset": Command(
        _reset,
        (
            Option("--keep-home -k", "keep_home", FLAG, "Leave /root and /home as they are"),
            Option("--to", "to", TEXT, "Back to this snapshot, not to the image", "SNAPSHOT"),
        ),
        (Argument("refs", "CONTAINER", 1, 0, completes="containers"),),
        "A running container is killed and started again. Volumes stay as they are.",
        ("reset my-python", "reset --keep-home my-python", "reset --to before-the-exam my-python"),
    ),
    "snapshot": Command(
        _snapshot,
        (Option("--remove", "remove", FLAG, "Remove the snapshot"), FORMAT),
        (_ONE, Argument("snapshot", "[SNAPSHOT]", 0)),
        "Without a name it lists them. A running container is frozen while its files are copied.",
        (
            "snapshot my-python before-the-exam",
            "snapshot my-python",
            "snapshot --remove my-python before-the-exam",
        ),
    ),
}
