"""Lessons, gone through as a student does: programs are written, lines are typed, answers compared.

A block's language and the word after it say what it is::

    ```c crash.c          the file crash.c, written where the lesson is
    ```console            lines to type: `# …` inside, `$ …` outside (not run); others must be in what is printed
    ```console fails      the last of its lines ends with an error, as the lesson wants it
    ```text               anything else

What a lesson says is printed counts without its spaces; ``...`` stands for what a line leaves out, or a whole line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from private_engine import PrivateEngine

_BLOCK = re.compile(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = "/tmp/.lesson"
_BEGIN = f'cd "$(cat {_PLACE} 2>/dev/null || echo /root)"; '
_PATIENCE = 600


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; ``title`` is what stands behind its language."""

    language: str
    title: str
    text: str

    @property
    def typed(self) -> tuple[str, ...]:
        """What is typed inside, line by line."""
        return tuple(line[2:] for line in self.text.splitlines() if line.startswith("# "))

    @property
    def printed(self) -> tuple[str, ...]:
        """What the lesson says is printed."""
        lines = (line.strip() for line in self.text.splitlines() if not line.startswith(("# ", "$ ")))
        return tuple(line for line in lines if line not in ("", "..."))


def blocks(lesson: str) -> Iterator[Block]:
    """Every block, in order."""
    for language, title, text in _BLOCK.findall(lesson):
        yield Block(language, title.strip(), text)


def play(engine: PrivateEngine, container: str, lesson: str) -> int:
    """Go through the lesson in the container; how many lines were typed. Fails at the first that goes otherwise."""
    typed = 0
    for block in blocks(lesson):
        if block.language == "console" and block.typed:
            _type(engine, container, block)
            typed += len(block.typed)
        elif block.title and block.language != "console":
            script = _BEGIN + 'mkdir -p "$(dirname "$0")"; cat > "$0"'
            engine.run("exec", "-i", container, "bash", "-c", script, block.title, input=block.text)
    return typed


def _type(engine: PrivateEngine, container: str, block: Block) -> None:
    script = "\n".join([f"trap 'pwd > {_PLACE}' EXIT", _BEGIN, "exec 2>&1", "set -e", *block.typed])
    done = engine.run("exec", container, "bash", "-c", script, status=None, timeout=_PATIENCE)
    lines = "\n".join(block.typed)
    assert (done.returncode != 0) == (block.title == "fails"), f"{lines}\n{done.returncode}: {done.stdout}"
    said = _COLOUR.sub("", done.stdout)
    for line in block.printed:
        assert _pattern(line).search(said), f"{lines}\nexpected: {line}\nprinted: {said}"


def _pattern(line: str) -> re.Pattern[str]:
    parts = (r"\s+".join(map(re.escape, part.split())) for part in line.split("..."))
    return re.compile(".*".join(parts))
