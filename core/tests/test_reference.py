"""The grammar of image references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios.model.reference import Reference, parse

DIGEST = "sha256:" + "0a" * 32

components = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,2})[a-z0-9]{1,4}){0,2}", fullmatch=True)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
domains = st.sampled_from(
    ["", "localhost", "localhost:5000", "registry.example.org", "r.Example.org:443", "10.0.0.1:80"]
)


@given(domains, st.lists(components, min_size=1, max_size=3), tags, st.sampled_from(["", DIGEST]))
def test_what_a_reference_prints_it_also_reads(domain: str, path: list[str], tag: str, digest: str) -> None:
    while not domain and len(path) > 1 and ("." in path[0] or path[0] == "localhost"):
        path = path[1:]  # that would be a registry's name
    reference = Reference(domain, "/".join(path), tag, digest)
    assert parse(str(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_is_a_safe_reference_or_refused_in_one_line(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidInput as error:
        assert "\n" not in error.cause
        assert error.remedy
    else:
        assert ".." not in reference.path.split("/")
        assert not str(reference).startswith(("/", "-", "."))
        assert reference.tag or reference.digest
        assert parse(str(reference)) == reference


def test_the_tag_is_latest_unless_tag_or_digest_is_given() -> None:
    assert parse("debian").tag == "latest"
    assert parse(f"debian@{DIGEST}").tag == ""
    assert str(parse("localhost:5000/course/lab:v1")) == "localhost:5000/course/lab:v1"
    assert parse("localhost:5000/lab") == Reference("localhost:5000", "lab", "latest")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("../../x", "'..'"),
        ("Debian:12", "'Debian' has capital letters"),
        ("debian:", "'' is not a tag"),
        ("debian:a b", "'a b' is not a tag"),
        ("debian@sha256:12", "'sha256:12' is not a digest"),
        ("a//b", "empty"),
        ("", "empty"),
        ("/etc/passwd", "empty"),
        ("x" * 300, "longer than 255"),
        ("de\nbian", "is not a part"),
        ("bad_host.:80/x", "not a registry's host"),
        ("debian:٣", "is not a tag"),
    ],
)
def test_a_wrong_reference_is_refused_by_its_wrong_part(text: str, named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert named in caught.value.cause
