"""Reading a lab's folder: what leads out of it is refused, what is private stays, a line is found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.errors import InvalidInput, MultiosError
from multios.toml_lines import line_of
from multios_labs.document import digest_of, files_of, filled, read, read_grading
from multios_labs.progress import Progress

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/labs/first-steps"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "lab")
    return tmp_path / "lab"


def test_the_students_copy_has_nothing_private(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    progress = Progress("c" * 64, "files")
    progress.keep_lab(read(folder))
    kept = {str(path.relative_to(progress.folder / "lab")) for path in (progress.folder / "lab").rglob("*")}
    assert "lab.toml" in kept and "text/files.md" in kept
    assert not any("private" in name or "grade" in name for name in kept)
    assert progress.lab().digest == read(folder).digest


def test_the_digest_is_of_what_students_get(folder: Path) -> None:
    before = digest_of(folder)
    (folder / "private/more").write_text("x")
    assert digest_of(folder) == before
    (folder / "text/files.md").write_text("x")
    assert digest_of(folder) != before


@pytest.mark.parametrize("name", ["files", "files/deep", "text", "files/secret", "lab.toml"])
def test_a_link_in_a_lab_is_refused(folder: Path, name: str) -> None:
    place = folder / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to("/etc" if name != "lab.toml" else EXAMPLE / "lab.toml")
    with pytest.raises(InvalidInput, match="is a link|no regular file|no file"):
        read(folder)
    assert name == "lab.toml" or not any(str(path).startswith("/etc") for _, path in files_of(EXAMPLE))


def test_grading_is_read_and_what_is_wrong_in_it_is_said(folder: Path) -> None:
    limits, checks = read_grading(read(folder))
    assert (limits.disk, len(checks)) == ("16M", 3)
    file = folder / "private/grade.toml"
    file.write_text(file.read_text().replace('test = "file-is-there.sh"', 'test = "../lab.toml"'))
    with pytest.raises(InvalidInput, match=r"grade.toml, line \d+: checks\[2\].test"):
        read_grading(read(folder))


def test_what_is_no_parameter_stays() -> None:
    assert filled("{{a}} {{b}} {{ a }} {{A}}", {"a": "{{b}}"}) == "{{b}} {{b}} {{ a }} {{A}}"


TEXT = """a = 1
[t]
b = 2
[[s]]
x = 1
[[s]]
y = '''
[[not]]
'''
[[s.c]]
z = 1
[[s.c]]
z = 2
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [("a", 1), ("t.b", 3), ("s[0].x", 5), ("s[1].y", 7), ("s[1].c[1].z", 13), ("s[1].c[1].more", 12), ("nothing", 0)],
)  # fmt: skip
def test_the_line_of_a_key_is_found(path: str, line: int) -> None:
    assert line_of(TEXT, path) == line


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2000), st.text(max_size=8), st.integers(0, 12))
def test_any_document_is_a_lab_or_is_refused_with_its_name(
    tmp_path_factory: pytest.TempPathFactory, position: int, junk: str, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("any") / "lab"
    shutil.copytree(EXAMPLE, folder)
    text = (EXAMPLE / "lab.toml").read_text()
    (folder / "lab.toml").write_text(text[:position] + junk + text[position + cut :], encoding="utf-8")
    try:
        read(folder)
    except MultiosError as error:
        assert "lab.toml" in error.cause and "\n" not in error.cause
