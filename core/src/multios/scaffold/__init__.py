"""``plugin new``: a plugin of any kind, as a distribution of its own whose tests pass."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path
from string import Template

from multios import __version__
from multios.errors import Conflict, InvalidInput, NotFound, nearest
from multios.plugins.discovery import ALL_KINDS, COMMAND, HOOKS, distribution_for

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIXES = {
    "isolation": "Isolation",
    "storage": "Storage",
    "network": "Network",
    "security": "Security",
    "template": "Template",
    "template_converter": "Converter",
    "image_source": "ImageSource",
    "orchestrator": "Orchestrator",
    HOOKS: "",
    COMMAND: "",
}
UNFINISHED = ("isolation", "network")
"""Kinds whose verbs need a kernel's objects of the author's choice: theirs do nothing yet, and the kit says so."""


def create(kind: str, name: str, directory: str | Path) -> Path:
    """Write the distribution below ``directory`` and return where.

    Raises ``NotFound`` for an unknown kind, ``InvalidInput`` for a name that cannot be a package's or a directory
    that cannot be written, ``Conflict`` where something is in the way.
    """
    if kind not in ALL_KINDS:
        guess = nearest(kind, list(ALL_KINDS))
        hint = f"did you mean {guess!r}?" if guess else f"kinds: {', '.join(ALL_KINDS)}"
        raise NotFound(f"no such kind of plugin: {kind[:80]!r}", hint)
    if not _NAME.fullmatch(name) or len(name) > 40 or keyword.iskeyword(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot be a plugin's name",
            "lower-case letters, digits and single '-', at most 40: my-plugin",
        )
    values = _values(kind, name)
    target = Path(directory) / values["distribution"]
    try:
        target.mkdir(parents=True)
        for path, text in _files(kind, values).items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    except FileExistsError as error:
        raise Conflict(f"{target} is there already", "choose another name or directory") from error
    except OSError as error:
        raise InvalidInput(
            f"{error.filename}: {error.strerror}", "choose a directory that you may write"
        ) from error
    return target


def _values(kind: str, name: str) -> dict[str, str]:
    distribution = distribution_for(kind, name)
    package = distribution.replace("-", "_")
    class_name = "".join(part.capitalize() for part in name.split("-")) + _SUFFIXES[kind]
    place = {HOOKS: package, COMMAND: f"{package}:command"}.get(kind, f"{package}:{class_name}")
    return {
        "kind": kind,
        "words": kind.replace("_", " "),
        "name": name,
        "identifier": name.replace("-", "_"),
        "distribution": distribution,
        "package": package,
        "class_name": class_name,
        "place": place,
        "core": ".".join(__version__.split(".")[:2]),
    }


def _files(kind: str, values: dict[str, str]) -> dict[str, str]:
    def filled(template: str) -> str:
        text = resources.files(__package__).joinpath("templates", template).read_text()
        return Template(text).substitute(values)

    package = values["package"]
    return {
        "pyproject.toml": filled("pyproject.toml.txt"),
        "README.md": filled("README.md.txt"),
        ".gitignore": "__pycache__/\n*.egg-info/\n/dist/\n",
        f"src/{package}/__init__.py": filled(f"{kind}.py.txt"),
        f"src/{package}/py.typed": "",
        f"tests/test_{package}.py": filled(f"{kind}_test.py.txt"),
    }
