"""``template test``: a line a check as it comes, what to do below one that does not hold."""

from __future__ import annotations

import sys

from multios.api.protocol import close_all
from multios.cli.context import colour
from multios.cli.output import pretty
from multios.cli.progress import Progress
from multios.cli.tables import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context


def test(context: Context, name: str, options: dict[str, str], locked: bool, format: str | None) -> int:
    """Run the checks and show what comes of them; 1 if one does not hold."""
    rows: list[dict[str, Any]] = []
    shown = Progress(sys.stderr)
    answers = context.client.request("templates.test", {"name": name, "options": options, "locked": locked})
    for kind, value, received in answers:
        close_all(received)
        if kind == "progress":
            shown.show(value)
        elif kind == "item":
            shown.end()
            rows.append(value)
            if format != "json":
                sys.stdout.write(_line(value))
                sys.stdout.flush()
    shown.end()
    result = answers.result
    if format == "json":
        sys.stdout.write(pretty(rows))
    else:
        held = result["checks"] - result["failed"]
        sys.stdout.write(f"{held} of {result['checks']} checks hold\n")
    return int(result["failed"] > 0 or not result["checks"])


def _line(row: dict[str, Any]) -> str:
    red, green, plain = ("\x1b[31m", "\x1b[32m", "\x1b[0m") if colour(sys.stdout) else ("", "", "")
    name = harmless(row["name"])
    if not row["cause"]:
        return f"{green}ok{plain}    {name}  ({row['seconds']:.1f} s)\n"
    lines = [f"{red}FAIL{plain}  {name}: {harmless(row['cause'])}"]
    if row["hint"]:
        lines.append(f"      {harmless(row['hint'])}")
    lines += [f"      | {harmless(line)}" for line in row["last"]]
    return "\n".join(lines) + "\n"
