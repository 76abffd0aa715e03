"""The table of docs/explanation/attacks.md, read from the docstrings of ``test_attacks_*.py``.

A docstring is one paragraph that says what is attacked and how, then perhaps ``CVE: …``, then ``Stopped by: …``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multios.selfproof.judgement import EXPECTATIONS

_INTRODUCTION = """# Attacks, and what stops them

Each row is a test against the running system: it tries the attack for real, from inside a container, and fails if it
succeeds or if anyone else is harmed. Where others had the hole, its number stands beside it; the way here is not
always the way there.
"""
_PROOF = """
## The self-proof

[`validate --isolation`](../how-to/prove-it.md) tries these from inside a container, on your own host:
"""


@dataclass(frozen=True)
class Attack:
    """A row: ``numbers`` are CVEs, ``test`` is the function's name in ``file``."""

    what: str
    numbers: str
    stopped_by: str
    test: str
    file: str


def attacks(directory: Path) -> Iterator[Attack]:
    """Every attack in ``directory``; ``ValueError`` names a test whose docstring is not as it should be."""
    for file in sorted(directory.glob("test_attacks_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node) or ""
                if "Stopped by:" in text:
                    yield _attack(text, node.name, file.name)


def _attack(text: str, test: str, file: str) -> Attack:
    what, _, rest = text.partition("\n\n")
    fields = {}
    for line in rest.splitlines():
        key, colon, value = line.partition(": ")
        if key not in ("CVE", "Stopped by") or not colon:
            raise ValueError(f"{file}: {test}: cannot read {line!r} of its docstring")
        fields[key] = value
    return Attack(" ".join(what.split()), fields.get("CVE", ""), fields["Stopped by"], test, file)


def page(directory: Path) -> str:
    """The whole page."""
    lines = [_INTRODUCTION]
    for file in dict.fromkeys(attack.file for attack in attacks(directory)):
        title = (ast.get_docstring(ast.parse((directory / file).read_text())) or "").partition("\n")[0]
        lines += [f"## {title.rstrip('.').replace('``', '`')}\n", f"`tests/end_to_end/{file}`\n"]
        lines.append("| attack | CVE | what stops it | test |\n|---|---|---|---|")
        for attack in attacks(directory):
            if attack.file == file:
                cells = (attack.what, attack.numbers, attack.stopped_by, f"`{attack.test}`")
                lines.append(
                    "| " + " | ".join(cell.replace("``", "`").replace("|", "\\|") for cell in cells) + " |"
                )
        lines.append("")
    lines += [_PROOF, "| tried | what it means when it is refused |\n|---|---|"]
    lines += [f"| {one.tried} | {one.good} |" for one in EXPECTATIONS.values()]
    return "\n".join(lines)
