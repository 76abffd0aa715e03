"""``version``, ``info``, ``doctor`` and ``features``."""

from __future__ import annotations

import sys

from multios.cli.context import PROGRAM, colour
from multios.cli.grammar import FLAG, Command, Option
from multios.cli.output import FORMAT, parse_template, pretty, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

_COLOURS = {"ok": "32", "skip": "2", "warn": "33", "fail": "31"}


def _version(values: Values, context: Context) -> int:
    from multios import __version__

    if values["client"]:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return 0
    python = ".".join(str(number) for number in sys.version_info[:3])
    both = {"Client": {"version": __version__, "python": python}, "Server": context.call("system.version")}
    return _show(both, values["format"])


def _info(values: Values, context: Context) -> int:
    return _show(context.call("system.info"), values["format"])


def _features(values: Values, context: Context) -> int:
    return _show(context.call("system.features"), values["format"])


def _show(record: dict[str, Any], format: str | None) -> int:
    if format == "json":
        sys.stdout.write(pretty(record))
    elif format in (None, "", "table"):
        sys.stdout.write("".join(line + "\n" for line in _outline(record)))
    else:
        sys.stdout.write(render(parse_template(format or ""), record) + "\n")
    return 0


def _outline(record: dict[str, Any], indent: str = "") -> list[str]:
    """Nested mappings as indented ``key: value`` lines."""
    lines: list[str] = []
    for key, value in record.items():
        name = f"{indent}{key.replace('_', ' ')}:"
        if isinstance(value, dict):
            lines += [name, *_outline(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{name} {', '.join(str(item) for item in value)}")
        else:
            shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            lines.append(f"{name} {'–' if shown is None else shown}")
    return lines


def _doctor(values: Values, context: Context) -> int:
    findings = context.call("system.doctor")
    if values["format"] == "json":
        sys.stdout.write(pretty(findings))
    else:
        paint = colour(sys.stdout)
        for item in findings:
            word = f"{item['health']:4}"
            word = f"\x1b[{_COLOURS.get(item['health'], '0')}m{word}\x1b[0m" if paint else word
            sys.stdout.write(f"{word}  {item['subject']}: {item['detail']}\n")
            if item.get("remedy") and item["health"] != "ok":
                sys.stdout.write(f"      → {item['remedy']}\n")
    return int(any(item["health"] == "fail" for item in findings))


COMMANDS = {
    "version": Command(
        _version,
        (Option("--client", "client", FLAG, "Only the client's; no daemon is asked"), FORMAT),
        (),
        "",
        ("version", "version --format json"),
    ),
    "info": Command(_info, (FORMAT,), (), "", ("info",)),
    "features": Command(_features, (FORMAT,), (), "", ("features --format json",)),
    "doctor": Command(
        _doctor,
        (FORMAT,),
        (),
        "What a host cannot have is skipped, which is no fault. The exit status is 1 if something is broken.",
        ("doctor",),
    ),
}
