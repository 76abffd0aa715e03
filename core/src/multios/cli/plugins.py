"""``plugin …``."""

from __future__ import annotations

import sys

from multios.cli.grammar import TEXT, Argument, Command, Option
from multios.cli.output import FORMAT, pretty, print_rows
from multios.cli.tables import clip, table
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns

KINDS = (
    "isolation", "storage", "network", "security", "template", "template_converter", "image_source", "orchestrator",
)  # fmt: skip
_USABLE = ("ready", "default")
_KIND = Option("--kind -k", "kind", TEXT, "Only this kind", "KIND", (*KINDS, "hooks", "command"))

_COLUMNS: Columns = (
    ("KIND", "Kind", lambda row: row["kind"]),
    ("NAME", "Name", lambda row: row["name"]),
    ("STATUS", "Status", lambda row: row["status"]),
    ("DISTRIBUTION", "Distribution", lambda row: row["distribution"]),
    ("VERSION", "Version", lambda row: row["version"]),
    ("SUMMARY", "Summary", lambda row: clip(row["error"] or row["summary"], 70)),
)


def _of_kind(values: Values) -> dict[str, Any]:
    return {"kind": values["kind"]} if values["kind"] else {}


def _list(values: Values, context: Context) -> int:
    print_rows(context.call("plugins.list", _of_kind(values)), _COLUMNS, values["format"])
    return 0


def _show(values: Values, context: Context) -> int:
    row = context.call("plugins.show", {"name": values["name"], **_of_kind(values)})
    if values["format"] == "json":
        sys.stdout.write(pretty(row))
        return 0
    facts = [
        (key, str(row[key]))
        for key in ("kind", "name", "distribution", "version", "status", "summary", "error")
    ]
    facts.append(("capabilities", ", ".join(row["capabilities"])))
    sys.stdout.write(table((), [[f"{key}:", value] for key, value in facts if value]))
    if row.get("settings"):
        cells = [[str(item[key]) for key in ("name", "type", "default", "value")] for item in row["settings"]]
        sys.stdout.write("\n" + table(("SETTING", "TYPE", "DEFAULT", "VALUE"), cells))
    if row.get("health"):
        sys.stdout.write("\n" + _health_table(row["health"]))
    return 0


def _health_table(findings: list[dict[str, Any]]) -> str:
    cells = [[item["subject"], item["health"], item["detail"], item.get("remedy") or ""] for item in findings]
    return table(("CHECK", "HEALTH", "DETAIL", "REMEDY"), cells)


def _doctor(values: Values, context: Context) -> int:
    findings: list[dict[str, Any]] = []
    for row in context.call("plugins.list", _of_kind(values)):
        name = f"{row['kind']} {row['name']}"
        if row["status"] not in _USABLE:
            detail = f"{row['distribution']}: {row['status']}: {row['error']}"
            findings.append({"subject": name, "health": "fail", "detail": detail, "remedy": ""})
            continue
        shown = context.call("plugins.show", {"name": row["name"], "kind": row["kind"]})
        health = shown.get("health") or [{"subject": "installed", "health": "ok", "detail": row["summary"]}]
        findings += [{**item, "subject": f"{name}: {item['subject']}"} for item in health]
    if values["format"] == "json":
        sys.stdout.write(pretty(findings))
    else:
        sys.stdout.write(_health_table(findings))
    return int(any(item["health"] == "fail" for item in findings))


def _test(values: Values, _context: Context) -> int:
    from multios.testing.runner import run  # deferred: pytest

    return run(values["distribution"], values["arguments"])


def _new(values: Values, _context: Context) -> int:
    if not values["kind"]:
        raise InvalidInput(
            "what kind of plugin?", f"give --kind, one of {', '.join((*KINDS, 'hooks', 'command'))}"
        )
    from multios.scaffold import UNFINISHED, create  # deferred: templates of files

    created = create(values["kind"], values["name"], values["directory"] or ".")
    sys.stdout.write(
        f"{created}\nInstall it with: pip install -e {created}\n"
        f"Check it with: multios-container plugin test {created.name}\n"
    )
    if values["kind"] in UNFINISHED:
        sys.stdout.write("Its verbs do nothing yet: what fails there says what each is to do\n")
    return 0


COMMANDS = {
    "plugin list": Command(_list, (_KIND, FORMAT), (), "", ("plugin list", "plugin list --kind storage")),
    "plugin show": Command(
        _show,
        (_KIND, FORMAT),
        (Argument("name", "PLUGIN", completes="plugins"),),
        "",
        ("plugin show overlay",),
    ),
    "plugin doctor": Command(
        _doctor, (_KIND, FORMAT), (), "The exit status is 1 if one of them is broken.", ("plugin doctor",)
    ),
    "plugin test": Command(
        _test,
        (),
        (Argument("distribution", "DISTRIBUTION"), Argument("arguments", "[PYTEST-ARGUMENT]", 0, 0)),
        "Runs the conformance kit against every driver that the distribution brings. Arguments after it go to pytest.",
        ("plugin test multios-storage-overlay",),
        interspersed=False,
    ),
    "plugin new": Command(
        _new,
        (
            Option("--kind -k", "kind", TEXT, "What it will be", "KIND", (*KINDS, "hooks", "command")),
            Option("--directory -C", "directory", TEXT, "Where to write it (default: here)", "DIRECTORY"),
        ),
        (Argument("name", "NAME"),),
        "Writes a small plugin whose tests pass.",
        ("plugin new --kind network star",),
    ),
}
