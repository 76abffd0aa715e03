"""The document for a terminal: each part with its sentences, its tables, and where to look oneself."""

from __future__ import annotations

import textwrap

from multios.cli.tables import harmless, table
from multios.explain.tables import Table, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WIDEST = 100


def text(document: dict[str, Any], width: int = 80, bold: bool = False) -> str:
    """All of it, sentences and lists folded to ``width`` columns; tables are as wide as they are."""
    width = max(40, min(width, _WIDEST))
    parts = [_part(part, width, bold) for part in document["parts"]]
    return heading(document) + "\n" + "\n".join(parts)


def heading(document: dict[str, Any]) -> str:
    """Whose document it is, and whether it was read from the kernel."""
    name, image = harmless(document["name"]), harmless(document["template"] or document["image"] or "nothing")
    first = f"{name} ({document['id'][:12]}), made from {image}, is {document['status']}."
    if document["running"]:
        return f"{first}\nWhat follows was read from the kernel just now.\n"
    return f"{first}\nWhat follows is what it would be if it were started now: the kernel knows nothing of it yet.\n"


def _part(part: dict[str, Any], width: int, bold: bool) -> str:
    begin, end = ("\x1b[1m", "\x1b[0m") if bold else ("", "")
    lines = [f"{begin}{part['title']}{end}"]
    for sentence in part["about"]:
        lines += textwrap.wrap(sentence, width - 2, initial_indent="  ", subsequent_indent="  ")
    for shown in tables(part):
        lines += ["", *_table(shown, width)]
    lines += ["", "  See it yourself:"]
    lines += [f"    {harmless(line)}" for line in part["see"]]
    return "\n".join(lines) + "\n"


def _table(shown: Table, width: int) -> list[str]:
    lines = [f"  {harmless(shown.title)}:"] if shown.title else []
    indent = "    " if shown.title else "  "
    if not shown.columns and len(shown.rows) == 1 and len(shown.rows[0]) == 1:
        return lines + textwrap.wrap(
            harmless(shown.rows[0][0]), width, initial_indent=indent, subsequent_indent=indent
        )
    return lines + [indent + line for line in table(shown.columns, shown.rows).splitlines()]
