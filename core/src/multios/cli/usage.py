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

_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 12
"""Readings that a line of bars shows."""
_NAME_WIDTH = 24


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


def bars(values: list[float]) -> str:
    """A bar a value, as high as it is beside 100 or the highest of them, whichever is more."""
    top = max([100.0, *values])
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in values)


def _stats(values: Values, context: Context) -> int:
    live = not values["no_stream"]
    params = {"refs": values["refs"], "stream": live, **({"all": True} if values["all"] else {})}
    readings = context.client.stream("containers.stats", params)
    if live and sys.stdout.isatty() and values["format"] in (None, "table"):
        return _redraw(readings)
    for rows in readings:
        print_rows(rows, _COLUMNS, values["format"])
        sys.stdout.flush()
    return 0


def _redraw(readings: Any) -> int:
    """Draw each reading over the last one, cut to the window, with a line of bars of the CPU's."""
    from os import get_terminal_size

    from multios.cli.tables import clip, table

    history: dict[str, list[float]] = {}
    titles = [*(title for title, _, _ in _COLUMNS[:3]), "CPU", *(title for title, _, _ in _COLUMNS[3:])]
    sys.stdout.write("\x1b[2J")
    for rows in readings:
        history = {
            row["id"]: [*history.get(row["id"], ()), row["cpu_percent"] or 0.0][-_HISTORY:] for row in rows
        }
        cells = []
        for row in rows:
            line = [cell(row) for _, _, cell in _COLUMNS]
            line[1] = clip(line[1], _NAME_WIDTH)
            cells.append([*line[:3], bars(history[row["id"]]).rjust(_HISTORY), *line[3:]])
        width, height = get_terminal_size(sys.stdout.fileno())
        shown = table(titles, cells).splitlines()[: (height or 24) - 1]
        lines = [line[: width or 80] for line in shown]
        # Over the old text and not a cleared screen, which would flicker (console_codes(4): EL, ED).
        sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()
    return 0


COMMANDS = {
    "stats": Command(
        _stats,
        (
            Option("--all -a", "all", FLAG, "Show those that do not run too"),
            Option("--no-stream", "no_stream", FLAG, "Print one reading and end"),
            FORMAT,
        ),
        (Argument("refs", "CONTAINER", 0, 0, completes="containers"),),
        "Without a name, all running containers are shown, the busiest first. One core is 100% of CPU.",
        ("stats", "stats --no-stream my-python", "stats --no-stream --format '{{.Name}} {{.CPUPerc}}'"),
    ),
}
