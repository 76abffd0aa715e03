"""YAML is read without importing all of PyYAML, and nobody can tell."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

OUTCOMES = """
import json, sys
from multios.compose.libyaml import parser_class

def outcome(text):
    parser = parser_class()
    from yaml.error import YAMLError
    seen = []
    try:
        source = parser(text)
        while type(event := source.get_event()).__name__ != "StreamEndEvent":
            seen.append([type(event).__name__, event.start_mark.line, str(getattr(event, "value", None))])
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or getattr(error, "reason", None)
        seen.append([type(error).__name__, mark and mark.line, said])
    return seen

answer = [outcome(text) for text in json.load(sys.stdin)]
assert ("re" in sys.modules) == WHOLE, sorted(sys.modules)
print(json.dumps(answer))
"""


def run(program: str, input: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], input=input, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def outcomes(texts: list[str], before: str, whole: bool) -> Any:
    # json imports re, so that the check is of what came before it.
    program = OUTCOMES.replace("import json, sys", f"import sys\n{before}\nfrom multios.api import wire_json")
    program = program.replace("json.load(sys.stdin)", "wire_json.loads(sys.stdin.read())")
    program = program.replace("json.dumps(", "wire_json.dumps(").replace("WHOLE", str(whole))
    return json.loads(run(program, json.dumps(texts)))


BAD = ["a: [1", "a: b: c", "\tx", "a: 'b", "%YAML 9.9\n---\na", "a: \x01", "*x", "{a", "--- !<x", "- a\nb"]
TEXTS = st.one_of(
    st.text("ab:-[]{}#&*!|>'\"%@ \n\t0", max_size=30),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


@given(st.lists(TEXTS, min_size=20, max_size=60))
@settings(max_examples=5, deadline=None)
def test_events_and_errors_are_those_of_pyyaml(texts: list[str]) -> None:
    assert outcomes(BAD + texts, "", whole=False) == outcomes(BAD + texts, "import yaml", whole=True)


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="this host has a PyYAML without libyaml")
def test_who_imports_yaml_afterwards_finds_it_whole() -> None:
    run(
        """
import sys
from multios.compose.libyaml import parser_class
parser = parser_class()
import yaml
assert "re" not in sys.modules
assert yaml.load("{a: 0x1f, b: 2020-02-02}", yaml.CSafeLoader) == yaml.safe_load("{a: 0x1f, b: 2020-02-02}")
assert yaml.safe_dump({"a": [1]}) == "a:\\n- 1\\n"
assert issubclass(yaml.CSafeLoader, parser) and parser_class() is parser
import yaml._yaml, yaml.reader, yaml.scanner
assert yaml._yaml.ReaderError is yaml.reader.ReaderError and yaml._yaml.ScannerError is yaml.scanner.ScannerError
try:
    yaml.load("a: \\x01", yaml.CSafeLoader)
    raise AssertionError
except yaml.reader.ReaderError as error:
    assert "control characters" in str(error), error
try:
    yaml.no_such_thing
    raise AssertionError
except AttributeError as error:
    assert "no_such_thing" in str(error)
"""
    )


def test_several_threads_may_be_the_first_to_use_it() -> None:
    run(
        """
from multios.compose.libyaml import parser_class
parser_class()
import yaml
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(lambda _: yaml.safe_load("a: 1"), range(50))) == [{"a": 1}] * 50
"""
    )


def test_names_can_be_imported_from_yaml_afterwards() -> None:
    run(
        "from multios.compose.libyaml import parser_class\nparser_class()\n"
        "from yaml import SafeLoader, YAMLError, events, nodes\n"
        "assert issubclass(events.ScalarEvent, object) and nodes and SafeLoader and YAMLError"
    )


def test_without_libyaml_files_are_read_all_the_same() -> None:
    run(
        "import sys\nsys.modules['yaml._yaml'] = None\nfrom multios.compose import yaml_text\n"
        "assert yaml_text.read('a: [1, x]', 'f') == [{'a': [1, 'x']}]\n"
        "from multios.errors import InvalidInput\n"
        "for text in ('a: \\x01', 'a: ['):\n"
        "    try:\n        yaml_text.read(text, 'f')\n        raise AssertionError\n"
        "    except InvalidInput as error:\n        assert 'not YAML' in error.cause\n"
    )
