"""``quota`` and ``audit``: what users may have, and what they did."""

from __future__ import annotations

import sys
import time

from multios.cli.grammar import FLAG, TEXT, Command, Option
from multios.cli.output import FORMAT, print_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns


def _amount(quota: str, number: float | None) -> str:
    if number is None:
        return "–"
    if quota in ("memory", "disk"):
        from multios.cli.tables import size  # deferred: not every row is a size

        return size(int(number))
    return f"{number:g}"


def _printable(text: str) -> str:
    """What somebody else has typed, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


_QUOTA: Columns = (
    ("FOR", "For", lambda row: row["for"]),
    ("QUOTA", "Quota", lambda row: row["quota"]),
    ("USED", "Used", lambda row: _amount(row["quota"], row["used"])),
    ("LIMIT", "Limit", lambda row: _amount(row["quota"], row["limit"])),
)
_AUDIT: Columns = (
    ("TIME", "Time", lambda row: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["time"]))),
    ("USER", "User", lambda row: row["user"]),
    ("METHOD", "Method", lambda row: _printable(row["method"])),
    ("OBJECT", "Object", lambda row: _printable(row["object"])),
    ("RESULT", "Result", lambda row: row["result"]),
)


def _quota(values: Values, context: Context) -> int:
    rows: list[dict[str, Any]] = [
        {"for": entry["for"], **quota}
        for entry in context.call("quotas.list", {"all": values["all"]})
        for quota in entry["quotas"]
    ]
    print_rows(rows, _QUOTA, values["format"])
    return 0


def _audit(values: Values, context: Context) -> int:
    from multios.cli.moments import moment

    params: dict[str, Any] = {"user": values["user"] or ""}
    if values["since"]:
        params["since"] = moment(values["since"], "--since")
    print_rows(list(context.client.stream("audit.list", params)), _AUDIT, values["format"])
    sys.stdout.flush()
    return 0


COMMANDS = {
    "quota": Command(
        _quota,
        (Option("--all -a", "all", FLAG, "Those of all users and courses (administrators)"), FORMAT),
        (),
        "Memory, CPUs and processes are sums of the limits of running containers, disk of all.",
        ("quota", "quota --all --format json"),
    ),
    "audit": Command(
        _audit,
        (
            Option("--user", "user", TEXT, "Only what this user did, by name or uid", "USER"),
            Option("--since", "since", TEXT, "Only what was done since a time or a duration ago", "TIME"),
            FORMAT,
        ),
        (),
        "For administrators.",
        ("audit --user ada --since 1h",),
    ),
}
