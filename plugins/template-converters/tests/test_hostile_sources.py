"""Strangers' folders and documents: nothing outside is read, nothing is endless, every refusal is one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput, MultiosError
from multios.template_format import rules
from multios.template_format.overlay import Overlay
from multios_template_converters import (
    Containerlab,
    DevContainer,
    Kathara,
    jsonc,
    kathara,
    source_folder,
    yaml_values,
)
from multios_template_converters.template_folder import template_name, toml
from multios_template_converters.values import Account, Value

Convert = Callable[..., Any]
LAB = {"lab.conf": "pc1[0]=A\n", "pc1/etc/motd": "hello\n"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where the fixture ``convert`` writes; beside it lies a secret."""
    (tmp_path / "secret").write_text("do not tell\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("do not tell\n")
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def contents(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_links_out_of_a_machines_folder_stay_behind_and_those_within_come_along(
    convert: Convert, source: Path
) -> None:
    (source / "pc1/etc").mkdir(parents=True)
    (source / "pc1/etc/shadow").symlink_to("/etc/shadow")
    (source / "pc1/etc/up").symlink_to("../../../secret")
    (source / "pc1/folder").symlink_to("../../outside")
    (source / "pc1/etc/hello").symlink_to("motd")
    made = convert(Kathara, LAB)
    root = made.folders["source-pc1"] / "rootfs"
    assert os.readlink(root / "etc/hello") == "motd"
    assert sorted(path.name for path in (root / "etc").iterdir()) == ["hello", "motd"]
    assert not (root / "folder").exists()
    for name in ("etc/shadow", "etc/up", "folder"):
        assert "leads out" in made.why(f"pc1/{name}:0: link")
    Overlay(root, "rootfs")


def test_nothing_is_written_through_links_that_lead_out_together(
    convert: Convert, source: Path, tmp_path: Path
) -> None:
    # Each stays inside by its words; one after the other they lead above the copy.
    deep = source / "tree/a/b/c"
    deep.mkdir(parents=True)
    (source / "tree/s").mkdir()
    (deep / "up").symlink_to("../../../s")
    (deep / "out").symlink_to("up/../..")
    binds = ["tree:/tree", "payload:/tree/a/b/c/out/payload", "payload:/tree/a/b/c/out/../payload"]
    text = f"topology: {{nodes: {{n: {{kind: linux, image: a, cmd: sh, binds: {json.dumps(binds)}}}}}}}\n"
    made = convert(Containerlab, {"one.clab.yml": text, "payload": "evil\n"})
    (folder,) = made.folders.values()
    written = [path for path in tmp_path.rglob("payload") if path.parent != source]
    assert written == [folder / "rootfs/tree/a/b/c/out/payload"]
    assert "something else" in made.why("tree/a/b/c/out:0: link")
    assert os.readlink(folder / "rootfs/tree/a/b/c/up") == "../../../s"


@pytest.mark.parametrize("name", ["pc1", "pc1.startup", "lab.conf"])
def test_what_is_read_itself_may_not_be_a_link_out_of_the_folder(
    convert: Convert, source: Path, name: str
) -> None:
    files = {path: text for path, text in LAB.items() if not path.startswith(name)}
    (source / name).symlink_to("../outside" if name == "pc1" else "../secret")
    with pytest.raises(InvalidInput, match=f"{name}: leads out of its folder"):
        convert(Kathara, files)


@pytest.mark.parametrize(("name", "secret"), [("pc1.startup", "../secret"), ("pc1", "../outside")])
def test_a_name_that_becomes_a_link_after_it_was_looked_at_is_not_followed(
    convert: Convert, source: Path, monkeypatch: pytest.MonkeyPatch, name: str, secret: str
) -> None:
    monkeypatch.setattr(
        source_folder.SourceFolder, "inside", lambda self, path: os.path.join(self._real, path)
    )
    (source / name).symlink_to(secret)
    with pytest.raises(InvalidInput, match=f"^{name}: Too many levels of symbolic links"):
        convert(Kathara, {"lab.conf": LAB["lab.conf"]})


def test_a_fifo_is_not_waited_for_and_a_device_is_left_out(convert: Convert, source: Path) -> None:
    (source / "pc1").mkdir()
    os.mkfifo(source / "pc1/pipe")
    assert "neither file" in convert(Kathara, LAB).why("pc1/pipe:0: file")


def test_a_script_that_is_a_fifo_is_refused(convert: Convert, source: Path) -> None:
    os.mkfifo(source / "pc1.startup")
    with pytest.raises(InvalidInput, match=r"pc1\.startup: is no file"):
        convert(Kathara, LAB)


def test_a_document_that_is_too_large_or_no_text_is_refused(convert: Convert, source: Path) -> None:
    (source / "pc1.startup").write_bytes(b"a" * (128 * 1024 + 1))
    with pytest.raises(InvalidInput, match=r"pc1\.startup: larger than 128 KiB"):
        convert(Kathara, LAB)


def test_files_and_bytes_of_all_machines_together_are_bounded(
    convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_folder, "MOST_FILES", 3)
    files = {f"pc{number}/etc/{name}": "x" for number in (1, 2) for name in "ab"}
    with pytest.raises(InvalidInput, match="pc2: with it there are more than 3 files"):
        convert(Kathara, {"lab.conf": "pc1[0]=A\npc2[0]=A\n", **files})


def test_folders_nested_deep_are_refused(convert: Convert) -> None:
    with pytest.raises(InvalidInput, match="nested deeper than 40"):
        convert(Kathara, {**LAB, f"pc1/{'d/' * 45}x": "x"})


def test_a_project_that_links_to_the_host_tells_nothing_of_it(convert: Convert, source: Path) -> None:
    (source / "notes").symlink_to("../secret")
    (source / ".devcontainer").mkdir()
    made = convert(DevContainer, {".devcontainer/devcontainer.json": '{"image": "debian:12"}'})
    assert "do not tell" not in contents(made.folders["source"])
    assert "leads out" in made.why("./notes:0: link")


# --- parsers --------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text('ab{}"\\/* ,:[]\té€', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc/*", max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


def plain(value: Value) -> Any:
    if isinstance(value.data, dict):
        return {key: plain(item) for key, item in value.data.items()}
    return [plain(item) for item in value.data] if isinstance(value.data, list) else value.data


@given(_JSON)
def test_json_is_read_as_json_is(data: Any) -> None:
    assert plain(jsonc.read(json.dumps(data), Account("x.json"))) == data


@given(_JSON, st.sampled_from(["// a, {\n", "/* ] } */", " ", "\n"]))
def test_comments_between_values_change_nothing(data: Any, comment: str) -> None:
    text = json.dumps(data, indent=1, separators=(",\n", ":\n")).replace("\n", f"\n{comment}")
    assert plain(jsonc.read(text, Account("x.json"))) == data


@given(_JSON)
def test_yaml_is_read_as_yaml_is(data: Any) -> None:
    assert plain(yaml_values.read(yaml.safe_dump(data), Account("x.yml"))) == data


_PIECES = st.lists(
    st.sampled_from(
        [
            '"',
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "//",
            "/*",
            "*/",
            "\n",
            "\\",
            "\\u0",
            "-",
            "1e9",
            "true",
            "a",
            "é",
            "&a",
            "*a",
            "<<",
            "? ",
            "- ",
            "'",
            "!!int",
            "|",
            ">",
        ]
    ),
    max_size=30,
).map("".join)


@given(_PIECES | st.text(max_size=60))
def test_no_text_makes_the_json_reader_fail_otherwise(text: str) -> None:
    _refused_in_a_line(lambda: jsonc.read(text, Account("x.json")))


@given(_PIECES | st.text(max_size=60))
def test_no_text_makes_the_yaml_reader_fail_otherwise(text: str) -> None:
    _refused_in_a_line(lambda: yaml_values.read(text, Account("x.yml")))


@given(
    st.lists(
        st.sampled_from(
            ["pc1", "[", "]", "0", "image", "=", '"', "'", "A", "#", " ", "\n", "LAB_NAME", "/", "é"]
        )
    ).map("".join)
    | st.text(max_size=80)
)
def test_no_text_makes_the_lab_reader_fail_otherwise(text: str) -> None:
    _refused_in_a_line(lambda: kathara.read(text, Account("lab.conf")))


def _refused_in_a_line(read: Callable[[], object]) -> None:
    try:
        read()
    except MultiosError as error:
        assert error.cause.startswith(("x.json:", "x.yml:", "lab.conf:"))
        assert error.cause.isprintable()


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_name_becomes_a_templates_name(lab: str, machine: str) -> None:
    first = template_name((), lab, machine)
    rules.check_name(first, "name")
    second = template_name((first,), lab, machine)
    rules.check_name(second, "name")
    assert first != second


_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=40)


@given(
    st.dictionaries(st.from_regex(r"[A-Za-z_]{1,5}", fullmatch=True), _TEXTS, max_size=4),
    st.lists(_TEXTS, max_size=4),
)
def test_what_is_written_as_toml_is_read_as_it_was(texts: dict[str, str], items: list[str]) -> None:
    table = {
        "items": items,
        "texts": texts,
        "rows": [{"text": item, "number": 1, "on": True} for item in [*items, ""]],
    }
    assert tomli.loads(toml(table)) == table
