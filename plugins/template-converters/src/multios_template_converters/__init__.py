"""Converters of what dev containers, Kathará and containerlab have for templates, as far as it maps onto ours."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from multios.drivers.template_converter import Conversion, TemplateConverterDriver
from multios.errors import InvalidInput

_MOST_LISTED = 5


class DevContainer(TemplateConverterDriver):
    """``devcontainer.json`` of a project, or of a dev container template, whose options become ours."""

    name: ClassVar[str] = "devcontainer"
    summary: ClassVar[str] = "dev containers: a project's devcontainer.json, or a dev container template"

    def find(self, source: Path) -> Path | None:
        """Where the folder has it: ``.devcontainer/devcontainer.json`` or ``.devcontainer.json``."""
        if source.is_dir():
            places = (source / ".devcontainer" / "devcontainer.json", source / ".devcontainer.json")
            return next((path for path in places if path.is_file()), None)
        named = source.name in ("devcontainer.json", ".devcontainer.json")
        return source if named and source.is_file() else None

    def convert(self, file: Path, target: Path) -> Conversion:
        """One template."""
        from multios_template_converters import devcontainer  # deferred: listings import this module

        return devcontainer.convert(file, target)


class Kathara(TemplateConverterDriver):
    """``lab.conf`` with its startup scripts and the folders of its machines."""

    name: ClassVar[str] = "kathara"
    summary: ClassVar[str] = "Kathará labs: lab.conf, startup scripts and the machines' folders"

    def find(self, source: Path) -> Path | None:
        """The folder's ``lab.conf``."""
        file = source / "lab.conf" if source.is_dir() else source
        return file if file.name == "lab.conf" and file.is_file() else None

    def convert(self, file: Path, target: Path) -> Conversion:
        """A template a machine."""
        from multios_template_converters import kathara  # deferred: listings import this module

        return kathara.convert(file, target)


class Containerlab(TemplateConverterDriver):
    """``NAME.clab.yml``: the nodes of kind ``linux``."""

    name: ClassVar[str] = "containerlab"
    summary: ClassVar[str] = "containerlab topologies: the nodes of kind linux in NAME.clab.yml"
    _ENDINGS = (".clab.yml", ".clab.yaml")

    def find(self, source: Path) -> Path | None:
        """The one topology of the folder."""
        if source.is_dir():
            found = [
                path for path in source.iterdir() if path.name.endswith(self._ENDINGS) and path.is_file()
            ]
            if len(found) > 1:
                listed = ", ".join(sorted(path.name for path in found)[:_MOST_LISTED])
                raise InvalidInput(
                    f"{source}: there are several topologies: {listed}", "name the file instead of the folder"
                )
            return found[0] if found else None
        return source if source.name.endswith(self._ENDINGS) and source.is_file() else None

    def convert(self, file: Path, target: Path) -> Conversion:
        """A template a node."""
        from multios_template_converters import containerlab  # deferred: it imports yaml

        return containerlab.convert(file, target)
