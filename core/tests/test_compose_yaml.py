"""YAML as Compose files have it: scalars, anchors, merge keys, tags, and the bounds."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.compose import yaml_text
from multios.compose.tree import Override, Reset, Table, plain, settled, written
from multios.errors import InvalidInput, MultiosError


def read(text: str) -> Any:
    """The one document."""
    (document,) = yaml_text.read(text, "compose.yaml")
    return document


def cause(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        yaml_text.read(text, "compose.yaml")
    return caught.value.cause


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("True", True), ("FALSE", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"),
        ("null", None), ("~", None), ("", None), ("Null", None), ("1", 1), ("-1", -1), ("+1", 1), ("0", 0), ("-0", 0),
        ("0640", 0o640), ("0o640", 0o640), ("0x1F", 31), ("0b11", 3), ("08", 8.0), ("1.10", 1.1), (".5", 0.5), ("1e3", 1000.0),
        ("22:22", "22:22"), ("190:20:30", "190:20:30"), ("1_000", "1_000"), ("2001-01-01", "2001-01-01"), ("1.2.3", "1.2.3"),
        ("-", "-"), (".", "."), ("+", "+"), ("0x", "0x"), ("0o9", "0o9"), ("1e999", "1e999"), ("9" * 50, "9" * 50),
        ("=", "="), (".inf", ".inf"), ("'1'", "1"), ('"true"', "true"), ("!!str 1", "1"), ("!!int '1'", 1), ("! 1", "1"),
        ("!!float 1", 1), ("!!bool true", True), ("!!null ''", None),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = read(f"a: {text}" if text != "-" else "a: '-'")["a"]
    assert found == value
    assert isinstance(found, type(value)) and isinstance(found, bool) == isinstance(value, bool)


@pytest.mark.parametrize("text", ["1.10", "0640", "0x1F", "+1", "1e3", "08"])
def test_numbers_keep_the_text_that_they_were_written_as(text: str) -> None:
    assert written(read(f"a: {text}")["a"]) == plain(read(f"a: {text}"))["a"] == text


def test_every_key_and_element_has_its_line() -> None:
    document = read("# one\na:\n  b: 1\n  c:\n    - x\n\n    - y\nd: {e: 2,\n  f: 3}\n")
    assert document.places == {"a": ("compose.yaml", 2), "d": ("compose.yaml", 8)}
    assert document["a"].places == {"b": ("compose.yaml", 3), "c": ("compose.yaml", 4)}
    assert document["a"]["c"].places == [("compose.yaml", 5), ("compose.yaml", 7)]
    assert document["d"].places["f"] == ("compose.yaml", 9)


def test_merge_keys_fill_in_what_is_not_there_and_the_first_source_wins() -> None:
    document = read("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd:\n  <<: *b\n")
    assert plain(document["c"]) == {"x": 3, "y": 1, "z": 2}
    assert plain(document["d"]) == {"y": 2, "z": 2}
    assert document["d"].places["y"] == ("compose.yaml", 2)


def test_a_quoted_merge_key_is_a_key() -> None:
    assert plain(read("'<<': 1")) == {"<<": 1}


@pytest.mark.parametrize("value", ["1", "[1]", "text"])
def test_a_merge_key_takes_mappings_only(value: str) -> None:
    assert "compose.yaml:2: << takes a mapping" in cause(f"a: 1\n<<: {value}")


def test_a_key_that_is_given_twice_is_an_error_with_both_lines() -> None:
    assert cause("a: 1\nb: 2\na: 3") == "compose.yaml:3: the key 'a' is given twice (line 1)"


def test_keys_that_are_numbers_are_text_and_others_are_errors() -> None:
    assert plain(read("1: a\ntrue: b\n0x1: c")) == {"1": "a", "true": "b", "0x1": "c"}
    assert cause("? [a]\n: b") == "compose.yaml:1: a key is not text"
    assert cause("a: 1\n? {a: b}\n: b") == "compose.yaml:2: a key is not text"
    assert cause("~: 1") == "compose.yaml:1: a key is not text"


def test_the_tags_of_the_specification_are_kept_until_files_are_merged() -> None:
    document = read("a: !reset null\nb: !override [1]\nc: !reset [1]\nd: [1, !reset x]")
    assert isinstance(document["a"], Reset) and isinstance(document["b"], Override)
    assert plain(settled(document)) == {"b": [1], "d": [1]}


@pytest.mark.parametrize("tag", ["!mine", "!!python/object:os.system", "!!binary", "!!set", "!!timestamp"])
def test_other_tags_are_refused(tag: str) -> None:
    assert "compose.yaml:1: the tag" in cause(f"a: {tag} x")
    assert "compose.yaml:1: the tag" in cause(f"a: {tag} {{x: }}")


@pytest.mark.parametrize("text", ["!!int x", "!!bool 1", "!!int true", "!!null x"])
def test_a_tag_that_does_not_fit_is_refused(text: str) -> None:
    assert cause(f"a: {text}").startswith("compose.yaml:1: ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1", 1),
        ("a: b: c", 1),
        ("a:\n\t- b", 2),
        ("a: *absent", 1),
        ("a: 'x", 1),
        ("%YAML 9.9\n---\na: 1", 1),
        ("}", 1),
    ],
)
def test_what_is_no_yaml_is_an_error_with_its_line(text: str, line: int) -> None:
    assert cause(text).startswith(f"compose.yaml:{line}")


def test_control_characters_are_refused() -> None:
    assert "compose.yaml" in cause("a: \x00")
    assert "compose.yaml" in cause("a: '\x07'")


def test_several_documents_are_read_one_after_the_other() -> None:
    assert [plain(item) for item in yaml_text.read("a: 1\n---\nb: 2\n...\n---\n", "f")] == [
        {"a": 1},
        {"b": 2},
        None,
    ]


def test_aliases_repeat_a_value_and_anchors_end_with_their_document() -> None:
    assert plain(read("a: &x [1, 2]\nb: *x\n&y c: *y")) == {"a": [1, 2], "b": [1, 2], "c": "c"}
    assert "there is no anchor &x" in cause("a: &x 1\n---\nb: *x")


def test_an_anchor_that_contains_itself_is_refused() -> None:
    assert cause("a: &a\n  b: *a") == "compose.yaml:2: &a contains itself"


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    begin = time.thread_time()
    assert "more than 100000 values" in cause("\n".join(lines))
    assert time.thread_time() - begin < 2


def test_depth_is_bounded_before_anything_overflows() -> None:
    assert "nested more than 64 deep" in cause("[" * 70)
    assert "maximum nesting depth" in cause("[" * 100_000)
    assert "nested more than 64 deep" in cause("a: " + "{a: " * 5000)
    assert "nested more than 64 deep" in cause("\n".join(" " * n + "a:" for n in range(200)))


def test_size_and_count_are_bounded() -> None:
    assert "more than 1048576 characters" in cause("a" * (yaml_text.LARGEST + 1))
    assert "more than 100000 values" in cause("[" + "1," * 200_000 + "]")


def test_without_libyaml_the_same_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x {b: 0640, c: [1, yes]}\nd: {<<: *x, e: !reset }\n"
    one = read(text)
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    other = read(text)
    assert plain(settled(one)) == plain(settled(other))
    assert one.places == other.places and one["a"].places == other["a"].places


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), plain_values, max_size=5))
def test_what_a_yaml_writer_writes_is_read_back(value: dict[str, Any]) -> None:
    assert plain(read(yaml.safe_dump(value))) == value


@settings(max_examples=500, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab:{}[],&*!<>|-?#'\"%@`~ \n\t0123456789$._\\\u2028\u00e9"), max_size=60)
)
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        documents = yaml_text.read(text, "compose.yaml")
    except MultiosError as error:
        assert error.cause.startswith("compose.yaml") and "\n" not in error.cause
    else:
        assert all(
            isinstance(item, (Table, list, str, int, float, type(None), Reset, Override))
            for item in documents
        )


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_characters_are_read_or_refused(text: str) -> None:
    try:
        yaml_text.read(text, "compose.yaml")
    except MultiosError:
        pass
