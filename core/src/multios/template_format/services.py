"""The small init of a template with services: one script for any POSIX shell, written into the image.

What it promises is in its own head. It is PID 1 of the container, so that whatever is orphaned becomes its child:
``wait`` reaps that too.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from importlib import resources

from multios.model.template import Service


def script(services: Sequence[Service]) -> str:
    """``multios-services`` for these services."""
    text = resources.files(__package__).joinpath("multios-services.sh").read_text(encoding="utf-8")
    tables = {
        "@names@": " ".join(service.name for service in services),
        "@commands@": _cases(services, lambda service: _shell(service.command)),
        "@prepare@": _cases(services, lambda service: _shell(service.prepare)),
        "@ready@": _cases(services, lambda service: shlex.join(service.ready)),
    }
    # One pass: what a template says is never looked at for marks.
    return "".join(tables.get(part, part) for part in _parts(text, tables))


def _shell(line: str) -> str:
    return shlex.join(["/bin/sh", "-c", line]) if line else ""


def _cases(services: Sequence[Service], command: Callable[[Service], str]) -> str:
    found = [(service.name, command(service)) for service in services]
    return "\n".join(f"    {name}) $run {words} ;;" for name, words in found if words) or "    '') ;;"


def _parts(text: str, marks: Sequence[str] | dict[str, str]) -> list[str]:
    parts = [text]
    for mark in marks:
        split: list[str] = []
        for part in parts:
            pieces = part.split(mark)
            for number, piece in enumerate(pieces):
                split += [mark, piece] if number else [piece]
        parts = split
    return parts
