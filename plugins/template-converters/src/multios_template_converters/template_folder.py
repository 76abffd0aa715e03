"""A template of ours, drafted from a foreign one and written as a folder."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multios.errors import InvalidInput
from multios.template_format import rules
from multios.template_format.document import SCHEMA
from multios.template_format.tree import LESSON, TEMPLATE, Tree
from multios.toml_lines import written
from multios_template_converters.values import shown

MOST_TEMPLATES = 100
UNKNOWN_LICENSE = "LicenseRef-unknown"
"""As SPDX writes what nobody has said."""
DEFAULT_VERSION = "1.0"
NEVER_ENDS = "exec sleep 2147483647"
"""The command of a service whose work is done by its ``prepare``."""
_LITERAL = re.compile(r"(?!.*''')[^\x00-\x08\x0b-\x1f\x7f]*\n[^\x00-\x08\x0b-\x1f\x7f]*(?<!')", re.DOTALL)
"""Several lines that TOML can hold as they are."""
_NOT_OF_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass
class Draft:
    """What becomes ``template.toml`` and ``lesson.md``; keys and values are those of the format's reference."""

    name: str
    title: str
    base: str
    about: str = ""
    version: str = DEFAULT_VERSION
    lesson: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    command: Sequence[str] = ()
    working_directory: str = "/root"
    environment: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    ports: dict[tuple[int, str], str] = field(default_factory=dict)
    """A port and its protocol to what it is for."""
    parameters: list[dict[str, Any]] = field(default_factory=list)
    services: list[dict[str, Any]] = field(default_factory=list)
    capabilities: list[str] = field(default_factory=list)

    def table(self) -> dict[str, Any]:
        """The whole ``template.toml``."""
        table: dict[str, Any] = {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version if rules.VERSION.fullmatch(self.version) else DEFAULT_VERSION,
            "description": one_line(self.about or self.title, rules.LONGEST_DESCRIPTION) or self.name,
            "license": UNKNOWN_LICENSE,
            "base": self.base,
            "steps": self.steps,
            "command": list(self.command),
            "working_directory": self.working_directory,
            "environment": self.environment,
            "resources": self.resources,
            "requests": {"capabilities": self.capabilities} if self.capabilities else {},
            "parameters": self.parameters,
            "ports": [
                {
                    "container": port,
                    "protocol": protocol,
                    "description": one_line(purpose, rules.LONGEST_DESCRIPTION),
                }
                for (port, protocol), purpose in self.ports.items()
            ],
            "services": self.services,
            "checks": [
                {"name": "commands run in it", "command": ["/bin/sh", "-c", "echo ready"], "expect": "ready"}
            ],
        }
        return {key: value for key, value in table.items() if value not in ([], {}, "")}

    def write(self, target: Path, source: str) -> Path:
        """The folder below ``target``, checked as the daemon will; errors begin with ``source``, the foreign file."""
        folder = target / self.name
        folder.mkdir(exist_ok=True)
        (folder / TEMPLATE).write_text(toml(self.table()), encoding="utf-8")
        title = one_line(self.title, rules.LONGEST_DESCRIPTION) or self.name
        paragraphs = [f"# {title}", *(shown(line, 2000) for line in self.lesson if line.strip())]
        (folder / LESSON).write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
        try:
            Tree(folder).check()
        except InvalidInput as error:
            cause = error.cause.removeprefix(f"{folder}/")
            raise InvalidInput(f"{source}: would be no template: {shown(cause, 300)}", error.remedy) from None
        return folder


def one_line(text: str, most: int) -> str:
    """The text as one printable line of at most ``most`` characters."""
    return shown(" ".join(text.split()), most)


def template_name(taken: Iterable[str], *parts: str) -> str:
    """A name for a template that is like ``parts`` with dashes, and none of ``taken``."""
    slug = "-".join(filter(None, (_NOT_OF_NAMES.sub("-", part.lower()).strip("-") for part in parts)))
    if not slug[:1].isalpha():
        slug = f"template-{slug}".rstrip("-")
    names, number = set(taken), 1
    found = slug = slug[: rules.LONGEST_NAME].rstrip("-")
    while found in names:
        number += 1
        ending = f"-{number}"
        found = slug[: rules.LONGEST_NAME - len(ending)].rstrip("-") + ending
    return found


def service(name: str, prepare: Iterable[str]) -> dict[str, Any]:
    """What runs once at every start; as elsewhere, a line that fails does not keep the machine from starting."""
    return {"name": name, "prepare": "\n".join([*prepare, "true"]), "command": NEVER_ENDS}


def apart(line: str) -> str:
    """A line of a stranger's, so that it can neither end nor break those that follow it."""
    return f"( {line}\n)" if has_placeholder(line) else f"/bin/sh -c {shlex.quote(line)}"


def has_placeholder(text: str) -> bool:
    """Whether a stranger's text would be taken for one of ours to be filled."""
    return rules.PLACEHOLDER.search(text) is not None


# --- TOML -----------------------------------------------------------------------------------------


def toml(table: Mapping[str, Any]) -> str:
    """A table of values, tables of values, and arrays of such tables, in TOML."""
    plain = {key: item for key, item in table.items() if not _is_below(item)}
    lines = [f"{written(key)} = {_toml_value(item)}" for key, item in plain.items()]
    for key, item in table.items():
        if isinstance(item, dict):
            lines += ["", f"[{written(key)}]", *_pairs(item)]
        elif _is_below(item):
            for row in item:
                lines += ["", f"[[{written(key)}]]", *_pairs(row)]
    return "\n".join(lines) + "\n"


def _is_below(item: Any) -> bool:
    return isinstance(item, dict) or (isinstance(item, list) and any(isinstance(row, dict) for row in item))


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{written(key)} = {_toml_value(item)}" for key, item in table.items()]


def _toml_value(item: Any) -> str:
    if isinstance(item, list):
        return f"[{', '.join(map(_toml_value, item))}]"
    if isinstance(item, str) and _LITERAL.fullmatch(item):
        return f"'''\n{item}'''"
    # JSON's texts, numbers and truth values are TOML's too, once DEL is escaped.
    return json.dumps(item, ensure_ascii=False).replace("\x7f", "\\u007f")
