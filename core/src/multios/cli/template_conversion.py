"""``template import`` of what others wrote: a converter, chosen by the source, makes folders of ours from it.

It runs here, with the caller's own rights, and the daemon checks its folders as any other's.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from multios.cli.tables import harmless
from multios.drivers.base import DriverContext
from multios.errors import Conflict, InvalidInput, PluginError
from multios.plugins.catalog import Catalog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from multios.cli.context import Context
    from multios.drivers.template_converter import Conversion, TemplateConverterDriver

KIND = "template_converter"
_STAND_INS = ("fake", "noop")


def bring(source: str, directory: str | None, give: Callable[[str, str], str], context: Context) -> bool:
    """Convert ``source`` and ``give`` each folder to the daemon, or keep them in ``directory``; whether somebody knew it.

    ``give`` takes a folder and what errors call it, and answers with the template's name.
    """
    with tempfile.TemporaryDirectory(prefix="multios-conversion-") as temporary:
        found = _finders(Path(source), Path(temporary), context)
        if not found:
            return False
        if len(found) > 1:
            listed = ", ".join(f"{driver.name} ({file})" for driver, file in found)
            raise InvalidInput(
                f"{source}: is of several formats: {listed}", "name the file instead of the folder"
            )
        driver, file = found[0]
        target = Path(temporary) / "folders"
        target.mkdir()
        conversion = driver.convert(file, target)
        if directory is not None:
            _refuse_existing(conversion, Path(directory))
        _tell_left_out(conversion)
        for folder in conversion.folders:
            if directory is None:
                name = give(str(folder), f"{source}: as the template {folder.name}")
            else:
                name = str(_keep(folder, Path(directory)))
            sys.stdout.write(f"{name}\n")
        _tell_commands(conversion)
    return True


def formats() -> str:
    """A remedy's words: what else could be imported here."""
    names = [name for name in Catalog().names(KIND) if name not in _STAND_INS]
    if names:
        return f"other formats that are read: {', '.join(names)}"
    return "for other formats: python3 -m pip install multios-template-converters"


def _finders(source: Path, temporary: Path, context: Context) -> list[tuple[TemplateConverterDriver, Path]]:
    catalog, found = Catalog(), []
    for name in catalog.names(KIND):
        state, runtime = temporary / name / "state", temporary / name / "runtime"
        for place in (state, runtime):
            place.mkdir(parents=True)
        try:
            made: Any = catalog.create(KIND, name, {}, DriverContext(state, runtime))
        except PluginError as error:
            context.report(error)  # another may know the format
            continue
        file = made.find(source)
        if file is not None:
            found.append((made, file))
    return found


def _tell_left_out(conversion: Conversion) -> None:
    for item in sorted(conversion.left_out, key=lambda item: (item.file, item.line)):
        place = f"{item.file}:{item.line}" if item.line else item.file
        sys.stderr.write(harmless(f"left out: {place}: {item.key}: {item.why}") + "\n")


def _tell_commands(conversion: Conversion) -> None:
    if conversion.commands:
        sys.stdout.flush()
        sys.stderr.write("the machines and the networks between them:\n")
        for line in conversion.commands:
            sys.stderr.write(f"  {harmless(line)}\n")


def _refuse_existing(conversion: Conversion, directory: Path) -> None:
    for folder in conversion.folders:
        if os.path.lexists(directory / folder.name):
            raise Conflict(
                f"{directory / folder.name} is there already", "choose another directory, or move it away"
            )


def _keep(folder: Path, directory: Path) -> Path:
    kept = directory / folder.name
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, kept, symlinks=True)
    return kept
