"""The published JSON Schemas of templates and indexes: valid themselves, true of ours, and as strict as the readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from multios.errors import InvalidInput
from multios.scaffold import template_folder
from multios.template_format import index
from multios.template_format.document import read

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/reference/template.schema.json").read_text())
TEMPLATES = sorted((ROOT / "plugins/templates-edu").glob("*/src/*/template.toml"))
HEAD = 'schema = 1\nname = "lab"\nversion = "1.0"\ndescription = "A lab"\nlicense = "MIT"\nbase = "x"\n'


def errors(text: str) -> list[Any]:
    return list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(tomli.loads(text)))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.parent.name)
def test_every_template_here_is_valid(path: Path) -> None:
    assert errors(path.read_text()) == []
    read(path.read_text(), str(path))


def test_there_are_templates() -> None:
    assert TEMPLATES


@pytest.mark.parametrize("base", ["debian:12", "ubuntu:20.04", "alpine:3"])
def test_what_template_create_writes_is_valid(tmp_path: Path, base: str) -> None:
    folder = template_folder.write("my-lab", base, tmp_path)
    assert errors((folder / "template.toml").read_text()) == []


@pytest.mark.parametrize(
    "more",
    [
        'licence = "MIT"',
        "steps = [1]",
        'steps = "x"',
        '[packages]\ndebian = "x"',
        '[requests]\ncapabilities = ["CAP_NET_RAW"]',
        '[requests]\nnetwork = "host"',
        '[requests]\ndevices = ["/etc/passwd"]',
        "[resources]\nmemory = 1",
        "[[ports]]\ncontainer = 0",
        '[[ports]]\ncontainer = 1\nprotocol = "icmp"',
        '[[parameters]]\nname = "a"\ndescription = "b"',
        '[[parameters]]\nname = "A"\ndescription = "b"\ndefault = ""',
        '[[parameters]]\nname = "a"\ndescription = "b"\ndefault = ""\ntype = "float"',
        '[[services]]\nname = "a"',
        '[[services]]\nname = "a b"\ncommand = "x"',
        '[[checks]]\nname = "a"\ncommand = []',
        '[[checks]]\nname = "a"\ncommand = ["x"]\ntimeout = 0',
        '[[checks]]\nname = "a"\ncommand = ["x"]\nrunning = "yes"',
        "[files]\nmotd = 'x'",
        '[environment]\n"a-b" = "x"',
        "[environment]\nA = 1",
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(more: str) -> None:
    assert errors(HEAD + more)
    with pytest.raises(InvalidInput):
        read(HEAD + more, "file")


# --- indexes --------------------------------------------------------------------------------------

INDEX = jsonschema.Draft202012Validator(
    json.loads((ROOT / "docs/reference/template-index.schema.json").read_text())
)
ENTRY = {
    "name": "lab", "version": "1.0", "description": "A lab", "license": "MIT", "base": "debian:12",
    "file": "lab-1.0.tar.gz", "sha256": "0" * 64, "size": 5,
}  # fmt: skip
REFERENCE = {"reference": "registry.example.org/templates/lab@sha256:" + "0" * 64}


def test_the_schema_of_indexes_is_one_and_true_of_what_is_written() -> None:
    INDEX.check_schema(INDEX.schema)
    by_reference = {key: ENTRY[key] for key in list(ENTRY)[:5]} | REFERENCE | {"version": "2"}
    rows = index.read(json.dumps({"schema": 1, "templates": [ENTRY, by_reference]}).encode(), "i")
    assert len(rows) == 2
    assert list(INDEX.iter_errors(json.loads(index.text(rows)))) == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": "A"}, {"version": "x"}, {"description": ""}, {"license": "a b"}, {"file": "../x"}, {"file": "/x"},
        {"sha256": "x"}, {"size": 0}, {"size": "5"}, {"size": 1 << 40}, {"more": 1}, {"base": None}, REFERENCE,
    ],
)  # fmt: skip
def test_what_the_schema_of_indexes_refuses_the_reader_refuses_too(change: dict[str, Any]) -> None:
    document = {"schema": 1, "templates": [{**ENTRY, **change}]}
    assert list(INDEX.iter_errors(document))
    with pytest.raises(InvalidInput):
        index.read(json.dumps(document).encode(), "i")
