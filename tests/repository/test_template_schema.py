"""The published JSON Schema of templates: valid itself, true of every template here, and as strict as the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from multios.errors import InvalidInput
from multios.scaffold import template_folder
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
