"""``plugin new``: what it writes is installed into a directory of its own and passes its tests there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multios import scaffold
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound
from multios.plugins.discovery import ALL_KINDS, distribution_for

KIT = "import sys; from multios.testing.runner import run; sys.exit(run(sys.argv[1], ['-q', '-x']))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin of every kind, written, and installed by pip into one directory."""
    root = tmp_path_factory.mktemp("scaffold")
    written = [scaffold.create(kind, "third-party", root) for kind in ALL_KINDS]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(root / "site"), *map(str, written)], check=True, timeout=120)
    return root


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root / "site"), "PYTHONDONTWRITEBYTECODE": "1"}


def python(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_every_new_plugin_passes_its_own_tests(installed: Path) -> None:
    done = python(
        installed, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", "--rootdir", "."
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = python(
        installed, "-m", "pytest", "-qq", "--collect-only", "--import-mode=importlib", "--rootdir", "."
    ).stdout
    for kind in ALL_KINDS:
        assert f"{distribution_for(kind, 'third-party')}/tests" in listed


def test_every_new_plugin_is_listed_as_ready(installed: Path) -> None:
    code = "from multios.plugins.catalog import Catalog\n"
    code += "for row in Catalog().rows():\n"
    code += "    if row['name'] == 'third-party': print(row['kind'], row['status'], row['error'])"
    done = python(installed, "-c", code)
    assert done.stdout.splitlines() == [f"{kind} ready " for kind in ALL_KINDS], done.stderr


def test_the_kit_passes_on_a_new_plugin(installed: Path) -> None:
    done = python(installed, "-c", KIT, "multios-template-third-party")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_kit_tells_what_a_skeleton_lacks(installed: Path) -> None:
    done = python(installed, "-c", KIT, "multios-net-third-party")
    assert done.returncode == 1
    assert "makes no networks yet" in done.stdout


def test_what_is_written_is_clean(installed: Path) -> None:
    sources = [str(path) for path in installed.glob("*/src") if path.is_dir()]
    for tool in (["-m", "ruff", "check", "--line-length", "110"], ["-m", "mypy", "--strict"]):
        if python(installed, "-c", f"import {tool[1]}").returncode:
            pytest.skip(f"{tool[1]} is not installed")
        done = python(installed, *tool, *sources)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ["", "../x", "UPPER", "a_b", "1st", "a--b", "-a", "x" * 41, "a\nb", 'a"b', "class"]
)
def test_a_name_that_cannot_be_a_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a plugin's name"):
        scaffold.create("storage", name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        scaffold.create("storge", "x", tmp_path)
    assert "'storage'" in caught.value.remedy


def test_nothing_is_written_over(tmp_path: Path) -> None:
    made = scaffold.create("template", "python", tmp_path)
    before = (made / "README.md").read_text()
    with pytest.raises(Conflict):
        scaffold.create("template", "python", tmp_path)
    assert (made / "README.md").read_text() == before


def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MultiosError) as caught:
        scaffold.create("template", "python", tmp_path / "file")
    assert str(tmp_path / "file") in caught.value.cause


def test_kinds_whose_verbs_do_nothing_yet_are_known(installed: Path) -> None:
    unfinished = {
        kind
        for kind in ALL_KINDS
        if "none of which does its work yet"
        in next((installed / distribution_for(kind, "third-party")).glob("src/*/__init__.py")).read_text()
    }
    assert unfinished == set(scaffold.UNFINISHED)
