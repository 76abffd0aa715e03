"""``explain``."""

from __future__ import annotations

import os
import sys

from multios.cli.grammar import TEXT, Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values


def _explain(values: Values, context: Context) -> int:
    parts = [name for name in (values["part"] or "").split(",") if name]
    document = context.call("containers.explain", {"ref": values["ref"], "parts": parts})
    sys.stdout.write(_shown(document, values))
    return 0


def _shown(document: dict[str, Any], values: Values) -> str:
    """The document as asked for; each form's module is imported only where it is."""
    if values["format"] == "json":
        from multios.cli.output import pretty

        return pretty(document)
    from multios.cli.context import colour
    from multios.explain.text import text

    return text(document, _width(), colour(sys.stdout))


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 100


COMMANDS = {
    "explain": Command(
        _explain,
        (
            Option("--part", "part", TEXT, "Only some parts: namespaces, ids, mounts, …", "PARTS"),
            Option("--format", "format", TEXT, "Write json instead of text", "FORMAT", ("json",)),
        ),
        (Argument("ref", "CONTAINER", completes="containers"),),
        "Shows a container as what it is: namespaces, ids, mounts, cgroups, capabilities, seccomp, confinement, "
        "network and process, each with the kernel's file where you can see it.",
        (
            "explain lab",
            "explain --part namespaces,network lab",
        ),
    ),
}
