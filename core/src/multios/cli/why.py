"""``why``."""

from __future__ import annotations

import sys
import time

from multios.cli.grammar import INTEGER, TEXT, Argument, Command, Option
from multios.cli.output import pretty
from multios.cli.tables import table
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

_DAY = 86400


def _why(values: Values, context: Context) -> int:
    if values["last"] is not None and values["last"] < 1:
        raise InvalidInput(f"--last: {values['last']} is not a number from 1 on", "give how many to show")
    params: dict[str, Any] = {"ref": values["ref"], "last": values["last"]}
    if values["since"]:
        from multios.cli.moments import moment  # deferred: only with --since

        params["since"] = moment(values["since"], "--since")
    answer = context.call("containers.why", params)
    if values["format"] == "json":
        sys.stdout.write(pretty(answer["refusals"]) + "\n")
        return 0
    rows = answer["refusals"]
    if rows:
        sys.stdout.write(table((), [_cells(row) for row in rows]))
    else:
        sys.stdout.write(f"nothing was refused to {answer['name']}\n")
    if not answer["watching"]:
        sys.stderr.write(f"system calls are not being watched: {answer['not_watching']}\n")
    elif not rows:
        sys.stderr.write("its system calls are being watched\n")
    return 0


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    times = "" if row["count"] in (None, 1) else f"{row['count']} times"
    who = f"to {_plain(row['program'])}({row['pid']})" if row["program"] else ""
    refused = " ".join(word for word in ("refused", who, times) if word)
    return _clock(row["last"]), _plain(row["what"]), refused, row["reason"], row["remedy"]


def _clock(moment: float | None) -> str:
    """The time of day, with the date when that is not today's; dashes where the kernel keeps no time."""
    if moment is None:
        return "--:--:--"
    recent = time.time() - moment < _DAY
    return time.strftime("%H:%M:%S" if recent else "%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _plain(text: str) -> str:
    """What a container chose, without power over the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


COMMANDS = {
    "why": Command(
        _why,
        (
            Option("--since", "since", TEXT, "Only from a time on: 10m, 2h, or 2026-11-27T10:00", "TIME"),
            Option("--last -n", "last", INTEGER, "Only the last so many", "NUMBER"),
            Option("--format", "format", TEXT, "Write json instead of a table", "FORMAT", ("json", "table")),
        ),
        (Argument("ref", "CONTAINER", completes="containers"),),
        "Says what was refused inside, to whom, what refused it, and which option would allow it.",
        ("why lab", "why lab --since 10m", "why --format json lab"),
    ),
}
