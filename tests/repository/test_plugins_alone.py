"""Every plugin is a package of its own: it builds, installs without the others, and its entry points load."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = sorted(
    [*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("plugins/templates-edu/*/pyproject.toml")]
)

LOAD = """
import importlib.metadata, pathlib, sys
target = sys.argv[1]
for distribution in importlib.metadata.distributions(path=[target]):
    for point in distribution.entry_points:
        kind = point.group.removeprefix("multios.").removesuffix(".v1")
        driver = point.load()
        if point.group == "multios.command.v1":  # a click command, whose class is click's
            assert pathlib.Path(sys.modules[point.module].__file__).is_relative_to(target), driver
            continue
        assert pathlib.Path(sys.modules[driver.__module__].__file__).is_relative_to(target), driver
        if point.group == "console_scripts":
            continue
        assert driver.kind == kind and driver.name == point.name, (driver, point)
"""


@pytest.mark.parametrize("file", PLUGINS, ids=lambda file: str(file.parent.name))
def test_a_plugin_installs_alone_and_is_found(file: Path, tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
            "--no-index", "--target", tmp_path, file.parent,
        ],
        check=True,
    )  # fmt: skip
    declared = tomllib.loads(file.read_text())["project"].get("entry-points", {})
    scripts = tomllib.loads(file.read_text())["project"].get("scripts", {})
    (distribution,) = importlib.metadata.distributions(path=[str(tmp_path)])
    found = {(point.group, point.name) for point in distribution.entry_points}
    assert found == {(group, name) for group, points in declared.items() for name in points} | {
        ("console_scripts", name) for name in scripts
    }
    # Its own copy goes before the editable one.
    subprocess.run([sys.executable, "-c", LOAD, tmp_path], check=True, env={"PYTHONPATH": str(tmp_path)})
