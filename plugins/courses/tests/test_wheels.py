"""Wheels made of what is installed: pip takes them, they are the same each time, and hostile ones are refused."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from multios.errors import InvalidInput, PluginError
from multios_courses import wheels
from multios_courses.course_file import Plugin


def plugin(name: str) -> Plugin:
    return Plugin(name, wheels.installed_version(name))


def test_a_wheel_of_what_is_installed_can_be_installed_without_an_index(tmp_path: Path) -> None:
    """zstandard has compiled files, pluggy has none, multios-courses is editable and needs multios-core."""
    made = wheels.collect([plugin("multios-courses"), plugin("zstandard")], tmp_path, Path("course.toml"))
    assert {"multios-courses", "multios-core", "zstandard", "pluggy", "click", "stevedore"} <= set(made)
    target = tmp_path / "target"
    wheels.pip(
        ["install", "--no-index", "--find-links", str(tmp_path), "--target", str(target), "multios-courses", "zstandard"],
        "installing",
    )  # fmt: skip
    program = "import multios_courses.wheels, zstandard; print(multios_courses.__file__, zstandard.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(target)}, capture_output=True, text=True
    )
    assert done.stdout.count(str(target)) == 2, done.stderr


def test_wheels_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        wheels.collect([plugin("multios-courses")], tmp_path / name, Path("course.toml"))
    for made in (tmp_path / "one").iterdir():
        assert made.read_bytes() == (tmp_path / "two" / made.name).read_bytes(), made.name


def test_a_plugin_that_is_not_here_or_of_another_version_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"multios-nothing 1.0 is needed, it is not installed"):
        wheels.collect([Plugin("multios-nothing", "1.0")], tmp_path, Path("course.toml"))
    with pytest.raises(PluginError, match=r"click 0.1 is needed, .* is installed"):
        wheels.collect([Plugin("click", "0.1")], tmp_path, Path("course.toml"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "a\\b"])
def test_a_wheel_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("fine", "")
        archive.writestr(name, "evil")
    with pytest.raises(InvalidInput, match="leads out of it"):
        wheels.check(tmp_path / "w", "b: wheels/w")


def test_a_bomb_is_refused_by_what_it_says(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("zeros", "w", force_zip64=True) as file:
            for _ in range(1100):
                file.write(bytes(1 << 20))
    assert (tmp_path / "w").stat().st_size < 5 << 20
    with pytest.raises(InvalidInput, match="too much"):
        wheels.check(tmp_path / "w", "b: wheels/w")
    (tmp_path / "n").write_bytes(b"no zip")
    with pytest.raises(InvalidInput, match="no wheel"):
        wheels.check(tmp_path / "n", "b: wheels/n")
