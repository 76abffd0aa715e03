"""The conformance suite of template converters.

A converter's tests subclass :class:`TemplateConverterDriverSuite`, name the driver class and give a small source, paths to
texts, that has something to leave out::

    class TestKathara(TemplateConverterDriverSuite):
        driver_type = Kathara
        example = {"lab.conf": 'pc1[0]="A"\\n'}

Without ``example`` only what needs no source is tested.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multios.drivers.base import DriverContext
from multios.drivers.template_converter import Conversion, TemplateConverterDriver
from multios.errors import MultiosError
from multios.template_format.tree import Tree
from multios.testing.base import DriverSuite

_ANY_CONTENT = st.one_of(
    st.binary(max_size=400), st.text(max_size=400).map(lambda text: text.encode("utf-8", "replace"))
)


class TemplateConverterDriverSuite(DriverSuite):
    """What every converter must do."""

    example: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """The example, as a folder."""
        if not self.example:
            pytest.skip("this driver has no example: its suite names none")
        folder = tmp_path / "example"
        for path, text in self.example.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    @pytest.fixture
    def file(self, driver: TemplateConverterDriver, source: Path) -> Path:
        """What the converter finds of the example."""
        found = driver.find(source)
        assert found is not None
        return found

    @pytest.fixture
    def converted(self, driver: TemplateConverterDriver, file: Path, tmp_path: Path) -> Conversion:
        """The example, converted."""
        return _convert(driver, file, tmp_path / "converted")

    def test_an_empty_folder_and_one_of_ours_are_not_of_the_format(
        self, driver: TemplateConverterDriver, tmp_path: Path
    ) -> None:
        folder = tmp_path / "ours"
        folder.mkdir()
        assert driver.find(folder) is None
        (folder / "template.toml").write_text("schema = 1\n")
        assert driver.find(folder) is None
        assert driver.find(folder / "template.toml") is None
        assert driver.find(folder / "absent") is None

    def test_the_found_file_alone_names_the_same_source(
        self, driver: TemplateConverterDriver, file: Path
    ) -> None:
        assert file.is_file()
        assert driver.find(file) == file

    def test_every_folder_is_a_valid_template_of_its_name(
        self, converted: Conversion, tmp_path: Path
    ) -> None:
        assert converted.folders
        assert len({folder.name for folder in converted.folders}) == len(converted.folders)
        for folder in converted.folders:
            assert folder.parent == tmp_path / "converted"
            tree = Tree(folder)
            tree.check()
            assert tree.document.name == folder.name

    def test_what_is_left_out_is_said_with_its_place(self, converted: Conversion) -> None:
        for item in converted.left_out:
            assert item.file and item.key and item.why and item.line >= 0
            assert "\n" not in item.file + item.key + item.why
        assert all(line and "\n" not in line for line in converted.commands)

    def test_the_source_stays_as_it_is_and_gives_the_same_again(
        self, driver: TemplateConverterDriver, source: Path, file: Path, tmp_path: Path
    ) -> None:
        before = _contents(source)
        first = _convert(driver, file, tmp_path / "first")
        second = _convert(driver, file, tmp_path / "second")
        assert _contents(source) == before
        assert _contents(tmp_path / "first") == _contents(tmp_path / "second")
        assert (first.left_out, first.commands) == (second.left_out, second.commands)

    def test_whatever_the_file_holds_is_converted_or_refused_in_a_line(
        self, source: Path, file: Path
    ) -> None:
        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(content=_ANY_CONTENT, cut=st.integers(0, 400))
        def refused_or_valid(content: bytes, cut: int) -> None:
            whole = original[:cut] + content
            file.write_bytes(whole)
            with tempfile.TemporaryDirectory() as directory:
                root = Path(directory)
                made = self.driver_type(self.driver_type.Settings(), DriverContext(root, root))
                try:
                    converted = _convert(made, file, root / "converted")
                except MultiosError as error:
                    assert error.cause and "\n" not in error.cause
                    return
                for folder in converted.folders:
                    Tree(folder).check()

        original = file.read_bytes()
        refused_or_valid()


def _convert(driver: TemplateConverterDriver, file: Path, target: Path) -> Conversion:
    target.mkdir()
    return driver.convert(file, target)


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }
