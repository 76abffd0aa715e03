"""What the tests of every format share: a source written, converted, and the templates read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.drivers.template_converter import TemplateConverterDriver
from multios.model.template import TemplatePlan
from multios.template_format.document import Document
from multios.template_format.tree import Tree


@dataclass(frozen=True)
class Converted:
    """The folders by name, what was left out as it is told, and the commands."""

    folders: dict[str, Path]
    left_out: list[str]
    commands: tuple[str, ...]

    def tree(self, name: str = "") -> Tree:
        """The template ``name``, or the only one."""
        (folder,) = [self.folders[name]] if name else self.folders.values()
        return Tree(folder)

    def document(self, name: str = "") -> Document:
        """Its ``template.toml``."""
        return self.tree(name).document

    def plan(self, name: str = "", **values: str) -> TemplatePlan:
        """Its plan with these options."""
        return self.tree(name).render(values)

    def why(self, place: str) -> str:
        """Why the one thing at ``FILE:LINE: KEY`` was left out."""
        (found,) = [line for line in self.left_out if line.startswith(f"{place}: ")]
        return found.removeprefix(f"{place}: ")


Convert = Callable[..., Converted]


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """Write ``files``, texts by their paths, as the folder ``source``, and convert that."""

    def run(kind: type[TemplateConverterDriver], files: Mapping[str, str]) -> Converted:
        source, target = tmp_path / "source", tmp_path / "target"
        for path, text in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(text)
        target.mkdir()
        driver = kind(kind.Settings(), DriverContext(tmp_path, tmp_path))
        file = driver.find(source)
        assert file is not None
        made = driver.convert(file, target)
        left_out = [f"{item.file}:{item.line}: {item.key}: {item.why}" for item in made.left_out]
        return Converted({folder.name: folder for folder in made.folders}, left_out, made.commands)

    return run
