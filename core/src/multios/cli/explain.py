"""``explain``."""

from __future__ import annotations

import os
import sys

from multios.cli.grammar import FLAG, TEXT, Argument, Command, Option
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values


def _explain(values: Values, context: Context) -> int:
    forms = [name for name in ("format", "shell", "html") if values[name]]
    if len(forms) > 1:
        raise InvalidInput(
            "explain writes one thing: text, --format json, --as-shell or --html", "leave one out"
        )
    if values["output"] and not (values["html"] or values["shell"]):
        raise InvalidInput("--output is for --html and --as-shell", "redirect the text: explain NAME > FILE")
    parts = [name for name in (values["part"] or "").split(",") if name]
    if parts and values["shell"]:
        raise InvalidInput("--as-shell is of the whole container", "leave out --part")
    document = context.call("containers.explain", {"ref": values["ref"], "parts": parts})
    _write(_shown(document, values), values["output"])
    return 0


def _shown(document: dict[str, Any], values: Values) -> str:
    """The document as asked for; each form's module is imported only where it is."""
    if values["format"] == "json":
        from multios.cli.output import pretty

        return pretty(document)
    if values["shell"]:
        from multios.explain.script import script

        return script(document)
    if values["html"]:
        from multios.explain.page import page

        return page(document)
    from multios.cli.context import colour
    from multios.explain.text import text

    return text(document, _width(), colour(sys.stdout))


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 100


def _write(text: str, path: str | None) -> None:
    if path in (None, "-"):
        sys.stdout.write(text)
        return
    try:
        with open(str(path), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}", "choose another --output") from error


COMMANDS = {
    "explain": Command(
        _explain,
        (
            Option("--part", "part", TEXT, "Only some parts: namespaces, ids, mounts, …", "PARTS"),
            Option("--format", "format", TEXT, "Write json instead of text", "FORMAT", ("json",)),
            Option("--as-shell", "shell", FLAG, "Print a script that builds the same by hand"),
            Option("--html", "html", FLAG, "Write a page with drawings"),
            Option("--output -o", "output", TEXT, "Write the page or script to a file", "FILE", (), "files"),
        ),
        (Argument("ref", "CONTAINER", completes="containers"),),
        "Shows a container as what it is: namespaces, ids, mounts, cgroups, capabilities, seccomp, confinement, "
        "network and process, each with the kernel's file where you can see it.",
        (
            "explain lab",
            "explain --part namespaces,network lab",
            "explain --as-shell lab > by-hand.sh",
            "explain --html -o lab.html lab",
        ),
    ),
}
