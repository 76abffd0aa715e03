"""Templates that are files of a Python package: ``template.toml``, ``lesson.md`` and, where there is one, ``rootfs/``.

The driver of such a template is a few lines::

    class PythonLearning(DeclarativeTemplate):
        name = "python-learning"
        package = __name__

The format is that of any template, whether it comes in a wheel or not: :mod:`multios.template_format`, and for people
``docs/reference/template-format.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from multios.drivers.base import DriverContext
from multios.drivers.template import TemplateDriver
from multios.errors import PluginError
from multios.model.template import Check, Parameter, TemplatePlan
from multios.template_format import tree
from multios.template_format.tree import Tree

if TYPE_CHECKING:
    from multios.template_format.overlay import Overlay


class TreeTemplate(TemplateDriver):
    """A template read from the folder that ``_tree`` gives."""

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        self.tree = self._find()

    def _find(self) -> Tree:
        raise NotImplementedError

    def parameters(self) -> tuple[Parameter, ...]:
        return self.tree.document.parameters

    def checks(self) -> tuple[Check, ...]:
        return self.render({}).checks

    def lesson(self) -> str:
        return self.tree.lesson()

    def render(self, values: Mapping[str, str]) -> TemplatePlan:
        return self.tree.render(values)

    def rootfs(self) -> Overlay | None:
        return self.tree.overlay


class DeclarativeTemplate(TreeTemplate):
    """A template read from the files of ``package``."""

    package: ClassVar[str]

    def _find(self) -> Tree:
        folder = resources.files(self.package)
        if not isinstance(folder, Path):
            raise PluginError(
                f"template {self.name!r}: its package {self.package!r} is not a folder",
                "install it with pip, which unpacks it",
            )
        return tree.at(folder, self.package)
