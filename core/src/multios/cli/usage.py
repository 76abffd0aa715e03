"""``stats``."""

from __future__ import annotations

import sys

from multios.cli.grammar import FLAG, Argument, Command, Option
from multios.cli.output import FORMAT, print_rows
from multios.cli.tables import memory, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns


def _percent(value: float | None) -> str:
    return "--" if value is None else f"{value:.2f}%"


def _pids(row: dict[str, Any]) -> str:
    return "--" if row["pids"] is None else str(row["pids"])


_COLUMNS: Columns = (
    ("ID", "ID", lambda row: row["id"][:12]),
    ("NAME", "Name", lambda row: row["name"]),
    ("CPU %", "CPUPerc", lambda row: _percent(row["cpu_percent"])),
    (
        "MEM USAGE / LIMIT",
        "MemUsage",
        lambda row: f"{memory(row['memory_bytes'])} / {memory(row['memory_limit'])}",
    ),
    ("MEM %", "MemPerc", lambda row: _percent(row["memory_percent"])),
    ("NET IO", "NetIO", lambda row: f"{size(row['received_bytes'])} / {size(row['sent_bytes'])}"),
    ("BLOCK IO", "BlockIO", lambda row: f"{size(row['read_bytes'])} / {size(row['write_bytes'])}"),
    ("PIDS", "PIDs", _pids),
)


def _stats(values: Values, context: Context) -> int:
    live = not values["no_stream"]
    terminal = sys.stdout.isatty() and values["format"] in (None, "table")
    for rows in context.client.stream("containers.stats", {"refs": values["refs"], "stream": live}):
        if live and terminal:
            sys.stdout.write("\x1b[H\x1b[2J")
        print_rows(rows, _COLUMNS, values["format"])
        sys.stdout.flush()
    return 0


COMMANDS = {
    "stats": Command(
        _stats,
        (Option("--no-stream", "no_stream", FLAG, "Print one reading and end"), FORMAT),
        (Argument("refs", "CONTAINER", 0, 0, completes="containers"),),
        "Without a name, all running containers are shown.",
        ("stats", "stats --no-stream my-python"),
    ),
}
