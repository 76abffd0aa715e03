"""What a student gets of a lab in a machine elsewhere, which has no root."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from multios.errors import InvalidInput, MultiosError
from multios_labs import rendering
from multios_labs.document import read
from multios_labs.records import Lab

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/labs/first-steps"
VALUES = {"codename": "brave-otter", "number": "4711"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    shutil.copytree(EXAMPLE, tmp_path / "lab")
    return read(tmp_path / "lab")


def written(lab: Lab, target: Path) -> dict[str, tuple[bytes, int]]:
    """Contents and modes by name, in the tar's order."""
    rendering.write(lab, VALUES, target)
    with tarfile.open(target) as archive:
        return {member.name: (archive.extractfile(member).read(), member.mode) for member in archive}  # type: ignore[union-attr]


def test_files_of_roots_own_are_in_the_home_with_the_students_values(lab: Lab, tmp_path: Path) -> None:
    found = written(lab, tmp_path / "out.tar")
    assert list(found) == [
        "first-steps.md", "first-steps.check", "work/README.txt", "work/sum.sh", ".multios-lab/first-steps",
    ]  # fmt: skip
    assert found["work/sum.sh"][1] == 0o755
    assert found["first-steps.check"][1] == 0o755
    assert b"/home/student/work/brave-otter" in found["first-steps.check"][0]
    told = found["first-steps.md"][0].decode()
    assert "Where this says /root, it is /home/student here." in told
    assert "`sh ~/first-steps.check` begins the first step" in told
    assert "## 1. A file of your own" in told and "## 2. A program that adds" in told
    assert "brave-otter" in told and "4711" in told and "{{" not in told
    assert found[rendering.given(lab)][0].decode() == f"1.0 {lab.digest}\n"


def test_what_is_otherwise_than_on_a_host_is_said(lab: Lab) -> None:
    assert rendering.differences(lab) == [
        "the setup of the lab, step program is run by first-steps.check, with the student's rights"
    ]
    bare = replace(lab, setup=(), steps=lab.steps[:1], command=("nginx",))
    assert rendering.differences(bare) == ["its command is not run"]


@pytest.mark.parametrize("target", ["/etc/motd", "/home/other/x", "/home/student", "/rooted/x", "/root"])
def test_a_file_that_belongs_outside_the_home_is_refused_and_nothing_is_written(
    lab: Lab, tmp_path: Path, target: str
) -> None:
    elsewhere = replace(lab, files=(replace(lab.files[0], target=target),))
    with pytest.raises(InvalidInput, match=f"files: '{target}' needs root"):
        rendering.write(elsewhere, VALUES, tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


def test_a_file_that_is_there_is_not_written_over(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "out.tar").touch()
    with pytest.raises(MultiosError, match="File exists"):
        rendering.write(lab, VALUES, tmp_path / "out.tar")
