"""Plays the sessions of a document as a reader would: what is to be typed is typed, what is shown is looked for.

A block of ``bash`` is one script. In one of ``console``, a line behind ``$`` is a command; lines behind ``>>>`` or ``#`` are
typed at that prompt of the command before; others must be in what it shows, in order. ``…`` stands for anything.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^```(bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")
_PROMPTS = (">>> ", "# ")
PATIENCE = 900.0
"""Seconds that a command may take: the first makes an image."""


@dataclass
class Command:
    """A command line, what is typed at its prompts, and what is shown."""

    line: str
    typed: list[tuple[str, str]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)


def commands(page: Path, replace: Mapping[str, str]) -> list[Command]:
    """Those of the page's blocks, with some words replaced by others."""
    text = page.read_text()
    for old, new in replace.items():
        text = text.replace(old, new)
    found: list[Command] = []
    for language, block in _FENCE.findall(text):
        if language == "bash":
            found.append(Command("set -e\n" + block))
        else:
            found += _session(block)
    return found


def _session(block: str) -> list[Command]:
    found: list[Command] = []
    for line in block.splitlines():
        prompt = next((mark for mark in _PROMPTS if line.startswith(mark)), "")
        if line.startswith("$ "):
            found.append(Command(line.removeprefix("$ ")))
        elif prompt:
            found[-1].typed.append((prompt, line.removeprefix(prompt)))
        elif line.strip():
            found[-1].shown.append(line)
    return found


def play(command: Command, directory: Path, environment: Mapping[str, str]) -> None:
    """Run it there; fail unless it ends well and shows what the page shows."""
    words = ["bash", "-c", command.line]
    if command.typed:
        status, seen = _on_terminal(words, command.typed, directory, environment)
    else:
        done = subprocess.run(
            words, cwd=directory, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
        )  # fmt: skip
        status, seen = done.returncode, done.stdout
    assert status == 0, f"{command.line}: exit {status}\n{seen}"
    rest = [" ".join(line.split()) for line in seen.splitlines()]
    for line in command.shown:
        pattern = ".*".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        pattern = pattern.replace(".*", " ?.* ?")
        while rest and not re.fullmatch(pattern, rest[0].strip()):
            rest.pop(0)
        assert rest, f"{command.line}: {line!r} is not shown (in this order) in\n{seen}"
        rest.pop(0)


def _on_terminal(
    words: Sequence[str], typed: Sequence[tuple[str, str]], directory: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Exit status and all that the terminal showed, without its control sequences."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        words, cwd=directory, env={**environment, "TERM": "dumb"},
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    waiting, seen, unread = list(typed), "", ""
    try:
        while (data := _read(master, 60)) is not None:
            text = _CONTROL.sub("", data)
            seen, unread = seen + text, unread + text
            if waiting and unread.endswith(waiting[0][0]):
                os.write(master, waiting.pop(0)[1].encode() + b"\n")
                unread = ""
        assert not waiting, f"never asked for {waiting[0][1]!r}:\n{seen}"
        return process.wait(60), seen
    finally:
        process.kill()
        os.close(master)


def _read(master: int, patience: float) -> str | None:
    """What the terminal shows next, within so many seconds; ``None`` at its end."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                return os.read(master, 65536).decode(errors="replace") or None
            except OSError:  # nobody has the other side any more
                return None
    raise AssertionError("the terminal is silent, and its program goes on")
