"""``template …``, which is also the program ``multios-container-template``."""

from __future__ import annotations

import sys

from multios.cli.grammar import PAIRS, Argument, Command, Option
from multios.cli.output import FORMAT, print_records, print_rows
from multios.cli.tables import clip, memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns


def _resources(row: dict[str, Any]) -> str:
    resources = row.get("resources") or {}
    cpus, limit = resources.get("cpu_limit"), resources.get("memory_limit")
    parts = [f"{cpus:g} CPU"] if cpus else []
    return ", ".join([*parts, memory(limit)] if limit else parts)


_COLUMNS: Columns = (
    ("NAME", "Name", lambda row: row["name"]),
    ("VERSION", "Version", lambda row: row["version"]),
    ("BASE", "Base", lambda row: row["base"]),
    ("RESOURCES", "Resources", _resources),
    ("BUILT", "Built", lambda row: "yes" if row["built"] else "no"),
    ("SUMMARY", "Summary", lambda row: clip(row["summary"], 60)),
)


def _list(values: Values, context: Context) -> int:
    print_rows(context.call("templates.list"), _COLUMNS, values["format"])
    return 0


def _show(values: Values, context: Context) -> int:
    lesson = context.call("templates.show", {"name": values["name"]})["lesson"]
    sys.stdout.write(lesson if lesson.endswith("\n") else lesson + "\n")
    return 0


def _inspect(values: Values, context: Context) -> int:
    params = {"name": values["name"], "options": values["options"]}
    print_records([context.call("templates.inspect", params)], values["format"])
    return 0


def _build(values: Values, context: Context) -> int:
    params = {"name": values["name"], "options": values["options"]}
    sys.stdout.write(f"{context.call('templates.build', params)['image']}\n")
    return 0


_ONE = Argument("name", "TEMPLATE", completes="templates")
_OPTIONS = Option("--option --template-option -o", "options", PAIRS, "An option of the template", "KEY=VALUE")

COMMANDS = {
    "template list": Command(_list, (FORMAT,), (), "", ("template list",)),
    "template show": Command(_show, (), (_ONE,), "", ("template show python-learning",)),
    "template inspect": Command(
        _inspect, (_OPTIONS, FORMAT), (_ONE,), "", ("template inspect python-learning",)
    ),
    "template build": Command(
        _build,
        (_OPTIONS,),
        (_ONE,),
        "create and run build it too, when it is not there.",
        ("template build python-learning",),
    ),
}
