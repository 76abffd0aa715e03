"""One version everywhere, one install road that is complete."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(
    [
        ROOT / "pyproject.toml",
        ROOT / "core/pyproject.toml",
        *ROOT.glob("plugins/*/pyproject.toml"),
        *ROOT.glob("plugins/templates-edu/*/pyproject.toml"),
    ]
)


def project(file: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(file.read_text())["project"]
    return table


def test_every_distribution_has_one_version() -> None:
    versions = {str(file.relative_to(ROOT)): project(file)["version"] for file in PROJECTS}
    assert len(set(versions.values())) == 1, versions


def test_the_package_and_the_changelog_say_the_same_version() -> None:
    import multios

    version = project(ROOT / "pyproject.toml")["version"]
    assert multios.__version__ == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_requirements_list_every_distribution() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = [line.removeprefix("-e ") for line in lines if line.startswith("-e ")]
    assert sorted((ROOT / place).resolve() for place in listed) == sorted(file.parent for file in PROJECTS)


@pytest.mark.parametrize("file", PROJECTS, ids=lambda file: project(file)["name"])
def test_a_distribution_says_what_it_is(file: Path) -> None:
    table = project(file)
    assert table["license"] == "MIT"
    assert table["requires-python"] == ">=3.11"
    assert (file.parent / table["readme"]).read_text().strip()
    assert table["description"]
    if "plugins" in file.parts:
        family = "multios-template" if file.parent.parent.name == "templates-edu" else "multios"
        assert table["name"] == f"{family}-{file.parent.name}"


META = (ROOT, ROOT / "plugins/templates-edu")
"""Distributions that bring others by purpose."""


@pytest.mark.parametrize(
    "file", [file for file in PROJECTS if file.parent not in META], ids=lambda file: project(file)["name"]
)
def test_a_distribution_depends_on_no_plugin(file: Path) -> None:
    needs = [re.split("[^a-z0-9-]", line)[0] for line in project(file).get("dependencies", [])]
    assert {name for name in needs if name.startswith("multios")} <= {"multios-core"}
